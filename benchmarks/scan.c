/* Cross margin as a plain C scan: who is unhealthy at some marks, and the cascade that looks at every account in every wave. It records nothing.

   Accounts are rows first[a] .. first[a + 1] of the positions. All money is in quote units, prices in ticks of `value` each. */

#include <stdint.h>

typedef struct {
    int64_t accounts;
    const int64_t* first;
    const double* balance;
    const double* size;         /* signed, in units of value a tick */
    const double* cost;         /* size times entry price */
    const int32_t* lots;        /* signed */
    const uint16_t* instrument;
    const double* rate;         /* maintenance, by instrument */
} holdings_t;

static int unhealthy(const holdings_t* h, int64_t a, const double* mark) {
    double excess = h->balance[a];
    for (int64_t k = h->first[a]; k < h->first[a + 1]; k++) {
        int i = h->instrument[k];
        double value = h->size[k] * mark[i];
        excess += value - h->cost[k] - h->rate[i] * (value < 0 ? -value : value);
    }
    return excess < -1e-7;      /* float64 sums: equal to the maintenance is healthy */
}

/* How many accounts are unhealthy. */
int64_t scan(const holdings_t* h, const double* mark) {
    int64_t n = 0;
    for (int64_t a = 0; a < h->accounts; a++) n += unhealthy(h, a, mark);
    return n;
}

/* One side of one book: lots at prices from the best; `at` is where it has been eaten to. */
typedef struct {
    const int64_t* price;
    const int64_t* lots;
    int64_t levels, at, eaten;
} ladder_t;

static void take(ladder_t* l, int64_t lots) {
    while (l->at < l->levels && lots >= l->lots[l->at] - l->eaten) {
        lots -= l->lots[l->at] - l->eaten;
        l->eaten = 0;
        l->at++;
    }
    l->eaten += lots;
}

/* Waves until nobody is unhealthy: marks are mids. `ladders` are bids and asks of each instrument in turn, `alive` one byte an account.
   Accounts that went are counted in counts[0], waves in counts[1], the accounts looked at in counts[2]. */
void cascade(const holdings_t* h, double* mark, int64_t instruments, ladder_t* ladders, uint8_t* alive, int64_t* counts) {
    int64_t found;
    counts[0] = counts[1] = counts[2] = 0;
    do {
        found = 0;
        for (int64_t a = 0; a < h->accounts; a++) {
            if (!alive[a]) continue;
            counts[2]++;
            if (!unhealthy(h, a, mark)) continue;
            alive[a] = 0;
            found++;
            for (int64_t k = h->first[a]; k < h->first[a + 1]; k++) {
                int i = h->instrument[k];
                int32_t n = h->lots[k];
                take(&ladders[2 * i + (n < 0)], n < 0 ? -n : n);
            }
        }
        for (int64_t i = 0; i < instruments; i++) {
            const ladder_t *bids = &ladders[2 * i], *asks = bids + 1;
            mark[i] = (double)(bids->price[bids->at] + asks->price[asks->at]) / 2;
        }
        counts[0] += found;
        counts[1] += found > 0;
    } while (found);
}
