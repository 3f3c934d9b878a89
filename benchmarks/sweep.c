/* The cascade of workload A in plain C: one pointer down the sorted triggers, one down the aggregated bids. It records nothing. */

#include <stdint.h>

/* Longs by falling trigger price (ticks; unhealthy below it), bids from the best price, `sale` lots sold to begin with.
   Per wave every position whose trigger the last price is below is sold at the market. counts: waves, positions liquidated, last price. */
void sweep(const double* trigger, const int64_t* size, int64_t positions, const int64_t* price, const int64_t* depth, int64_t sale,
           int64_t* counts) {
    int64_t level = 0, left = depth[0], taken = 0, end = 0, waves = 0, lots = sale;
    for (;;) {
        for (;;) {
            while (lots > left) {
                lots -= left;
                left = depth[++level];
            }
            left -= lots;
            if (taken == end) break;
            lots = size[taken++];
        }
        const double mark = (double)price[level];
        while (end < positions && trigger[end] > mark) end++;
        if (end == taken) break;
        lots = size[taken++];
        waves++;
    }
    counts[0] = waves;
    counts[1] = taken;
    counts[2] = price[level];
}
