"""Wide integers: the few exact operations in 128 and 256 bits that money needs, as C functions over plain scalars.

Cython does not know __int128 and would narrow mixed expressions silently, so no arithmetic on it happens outside this unit.
"""

from libc.stdint cimport int64_t, uint64_t


cdef extern from *:
    """
    #include <stdint.h>

    typedef __int128 wide_t;
    typedef unsigned __int128 uwide_t;

    static inline wide_t wide_of(int64_t a) { return (wide_t)a; }
    static inline wide_t wide_add(wide_t a, wide_t b) { return a + b; }
    static inline wide_t wide_sub(wide_t a, wide_t b) { return a - b; }
    static inline wide_t wide_mul(int64_t a, int64_t b) { return (wide_t)a * b; }
    static inline int wide_cmp(wide_t a, wide_t b) { return (a > b) - (a < b); }
    static inline int wide_sign(wide_t a) { return (a > 0) - (a < 0); }
    static inline int wide_is_zero(wide_t a) { return a == 0; }
    static inline int64_t wide_low(wide_t a) { return (int64_t)(uint64_t)(uwide_t)a; }
    static inline int64_t wide_high(wide_t a) { return (int64_t)(a >> 64); }
    static inline wide_t wide_join(int64_t high, uint64_t low) { return (wide_t)(((uwide_t)(uint64_t)high << 64) | low); }
    static inline double wide_double(wide_t a) { return (double)a; }
    static inline wide_t wide_scale(wide_t a, int64_t b) { return a * b; }

    #define CASCADE_RATE_ONE 1000000000000LL

    /* a / b rounded down, b > 0. Mostly both fit 64 bits, where a division costs a tenth. */
    static inline wide_t wide_floor_div(wide_t a, wide_t b) {
        if (a == (int64_t)a && b == (int64_t)b) {
            int64_t q = (int64_t)a / (int64_t)b;
            return q - ((int64_t)a % (int64_t)b < 0);
        }
        wide_t q = a / b;
        return q - (a % b < 0);
    }

    /* a / b rounded to nearest, ties to even, b > 0: odd in a. */
    static inline wide_t wide_half_even(wide_t a, wide_t b) {
        wide_t q = wide_floor_div(a, b), r = a - q * b;
        return q + (r > b - r || (r == b - r && (q & 1)));
    }

    /* n * p * c. The caller's bounds keep it inside int64. */
    static inline int64_t money_linear(int64_t n, int64_t p, int64_t c) { return (int64_t)((wide_t)n * p * c); }

    /* n * p * c / 1024, rounded down. */
    static inline int64_t money_linear_mark(int64_t n, int64_t p, int64_t c) {
        return (int64_t)(((wide_t)n * c * p) >> 10);
    }

    /* -n * a / (p * b), half-even. */
    static inline int64_t money_inverse(int64_t n, int64_t a, int64_t p, int64_t b) {
        return (int64_t)-wide_half_even((wide_t)n * a, (wide_t)p * b);
    }

    /* -n * a * 1024 / (p * b), rounded down. */
    static inline int64_t money_inverse_mark(int64_t n, int64_t a, int64_t p, int64_t b) {
        return (int64_t)wide_floor_div(-(wide_t)n * a * 1024, (wide_t)p * b);
    }

    /* rate * amount / one, rounded up; signed, one > 0. */
    static inline int64_t money_part_up(int64_t rate, int64_t amount, int64_t one) {
        return (int64_t)-wide_floor_div(-(wide_t)rate * amount, (wide_t)one);
    }

    /* rate * amount / 1e12, rounded up; signed. */
    static inline int64_t money_rate_up(int64_t rate, int64_t amount) {
        return money_part_up(rate, amount, 1000000000000LL);
    }

    /* What size adds to a rate, in 1e-12: size * num / den, rounded up, at most 1. */
    static inline int64_t money_size_rate(int64_t size, int64_t num, int64_t den) {
        wide_t part = -wide_floor_div(-(wide_t)size * num, (wide_t)den);
        return part < 1000000000000LL ? (int64_t)part : 1000000000000LL;
    }

    /* The largest closing value that with a fee of rate (1e-12, in [0, 1/2]) on it is no more than v. */
    static inline int64_t money_after_fee(int64_t rate, int64_t v) {
        return (int64_t)wide_floor_div((wide_t)v * 1000000000000LL, (wide_t)1000000000000LL + (v >= 0 ? rate : -rate));
    }

    /* a.num / a.den against b.num / b.den, den > 0: -1, 0, 1. The doubles decide where they are not close. */
    static inline int ratio_order(double a_near, int64_t a_num, int64_t a_den, double b_near, int64_t b_num, int64_t b_den) {
        double gap = a_near - b_near, size = (a_near < 0 ? -a_near : a_near) + (b_near < 0 ? -b_near : b_near);
        if (gap > 1e-14 * size) return 1;
        if (gap < -1e-14 * size) return -1;
        return wide_cmp((wide_t)a_num * b_den, (wide_t)b_num * a_den);
    }

    /* a * k / n, half-even (floor), n > 0. */
    static inline int64_t money_share_even(int64_t a, int64_t k, int64_t n) {
        if (k == n) return a;
        return (int64_t)wide_half_even((wide_t)a * k, (wide_t)n);
    }
    static inline int64_t money_share_floor(int64_t a, int64_t k, int64_t n) {
        if (k == n) return a;
        return (int64_t)wide_floor_div((wide_t)a * k, (wide_t)n);
    }

    /* a * k / n to the nearest whole number, halves up, n > 0. */
    static inline int64_t half_up(int64_t a, int64_t k, int64_t n) {
        return (int64_t)wide_floor_div((wide_t)a * k * 2 + n, (wide_t)n * 2);
    }

    /* a * k / n rounded down, at most INT64_MAX; a, k >= 0, n > 0. */
    static inline int64_t share_capped(int64_t a, int64_t k, int64_t n) {
        wide_t q = (wide_t)a * k / n;
        return q > INT64_MAX ? INT64_MAX : (int64_t)q;
    }

    /* (1024 sum + more) / n, half-even, n > 0. */
    static inline int64_t wide_mean(wide_t sum, int64_t more, int64_t n) {
        return (int64_t)wide_half_even(sum * 1024 + more, (wide_t)n);
    }

    /* floor(total * part / whole) and the remainder, for shares of a loss: all within 2**63, the product within 2**126. */
    static inline wide_t money_share_rest(int64_t total, int64_t part, wide_t whole, int64_t* share) {
        wide_t product = (wide_t)total * part;
        *share = (int64_t)(product / whole);
        return product % whole;
    }

    /* Price of a value v > 0 of n > 0 lots: v * b / (n * a) for linear, n * a / (v * b) for inverse; up or down. */
    static inline int64_t money_price(int inverse, int64_t n, int64_t v, int64_t a, int64_t b, int up) {
        wide_t num = inverse ? (wide_t)n * a : (wide_t)v, den = inverse ? (wide_t)v * b : (wide_t)n * a;
        wide_t price = num / den;
        if (up && num % den != 0) price += 1;
        if (price < 1) price = 1;
        if (price > ((int64_t)1 << 53) - 1) price = ((int64_t)1 << 53) - 1;
        return (int64_t)price;
    }

    /* a * f / 1e9: nearest even, down, up. */
    static inline wide_t scaled_even(int64_t a, int64_t f) { return wide_half_even((wide_t)a * f, 1000000000LL); }
    static inline wide_t scaled_down(int64_t a, int64_t f) { return wide_floor_div((wide_t)a * f, 1000000000LL); }
    static inline wide_t scaled_up(int64_t a, int64_t f) { return -wide_floor_div(-(wide_t)a * f, 1000000000LL); }

    /* Is low <= |2 p - t| / t < high, with low and high in 1e-9? */
    static inline int within_distance(int64_t p, int64_t t, int64_t low, int64_t high) {
        wide_t d = (wide_t)2 * p - t;
        if (d < 0) d = -d;
        d *= 1000000000LL;
        return (wide_t)low * t <= d && d < (wide_t)high * t;
    }

    /* A fraction num / den, den > 0, with its nearest double in front for the comparisons that are not close. */
    typedef struct { wide_t num, den; double near; } fraction_t;

    static inline fraction_t fraction_of(wide_t num, wide_t den) {
        fraction_t f = {num, den, (double)num / (double)den};
        return f;
    }

    typedef struct { uint64_t w[4]; } wide256_t;

    static inline wide256_t wide256_mul(uwide_t a, uwide_t b) {
        uint64_t a0 = (uint64_t)a, a1 = (uint64_t)(a >> 64), b0 = (uint64_t)b, b1 = (uint64_t)(b >> 64);
        uwide_t p00 = (uwide_t)a0 * b0, p01 = (uwide_t)a0 * b1, p10 = (uwide_t)a1 * b0, p11 = (uwide_t)a1 * b1;
        uwide_t mid = (p00 >> 64) + (uint64_t)p01 + (uint64_t)p10;
        uwide_t high = p11 + (p01 >> 64) + (p10 >> 64) + (mid >> 64);
        wide256_t q = {{(uint64_t)p00, (uint64_t)mid, (uint64_t)high, (uint64_t)(high >> 64)}};
        return q;
    }

    /* a.num / a.den against b.num / b.den, exactly: -1, 0, 1. */
    static inline int fraction_cmp(const fraction_t* a, const fraction_t* b) {
        /* The doubles are within 2**-51 of the truth, relatively: beyond that they decide. */
        double gap = a->near - b->near, size = (a->near < 0 ? -a->near : a->near) + (b->near < 0 ? -b->near : b->near);
        if (gap > 1e-14 * size) return 1;
        if (gap < -1e-14 * size) return -1;
        int sa = wide_sign(a->num), sb = wide_sign(b->num);
        if (sa != sb) return sa < sb ? -1 : 1;
        if (sa == 0) return 0;
        wide256_t x = wide256_mul((uwide_t)(sa < 0 ? -a->num : a->num), (uwide_t)b->den);
        wide256_t y = wide256_mul((uwide_t)(sb < 0 ? -b->num : b->num), (uwide_t)a->den);
        for (int k = 3; k >= 0; k--)
            if (x.w[k] != y.w[k]) return (x.w[k] < y.w[k]) == (sa > 0) ? -1 : 1;
        return 0;
    }

    /* spread * own * clamp(adjustment * missing / needed, 0, 1), rounded down: rates in 1e-12, own and needed >= 0. The
       product of the two parts has 256 bits; the quotient is found by bisection. */
    static inline int64_t money_concession(int64_t adjustment, int64_t missing, int64_t needed, int64_t spread, int64_t own) {
        if (missing <= 0 || needed <= 0) return 0;
        wide_t part = (wide_t)adjustment * missing, most = (wide_t)spread * own;
        int64_t lo = 0, hi = (int64_t)(most / CASCADE_RATE_ONE);
        if (part >= (wide_t)CASCADE_RATE_ONE * needed) return hi;
        wide256_t whole = wide256_mul((uwide_t)part, (uwide_t)most);
        while (lo < hi) {   /* the largest x with x * needed * 1e24 <= part * most */
            int64_t x = lo + (hi - lo + 1) / 2;
            wide256_t y = wide256_mul((uwide_t)x * (uwide_t)needed, (uwide_t)CASCADE_RATE_ONE * CASCADE_RATE_ONE);
            int k = 3;
            while (k > 0 && y.w[k] == whole.w[k]) k--;
            if (y.w[k] <= whole.w[k]) lo = x; else hi = x - 1;
        }
        return lo;
    }
    """
    # Opaque: only ever passed to the functions below.
    ctypedef long long wide_t
    ctypedef struct fraction_t:
        wide_t num
        wide_t den
        double near

    wide_t wide_of(int64_t a) noexcept nogil
    wide_t wide_add(wide_t a, wide_t b) noexcept nogil
    wide_t wide_sub(wide_t a, wide_t b) noexcept nogil
    wide_t wide_mul(int64_t a, int64_t b) noexcept nogil
    int wide_cmp(wide_t a, wide_t b) noexcept nogil
    int wide_sign(wide_t a) noexcept nogil
    int wide_is_zero(wide_t a) noexcept nogil
    int64_t wide_low(wide_t a) noexcept nogil
    int64_t wide_high(wide_t a) noexcept nogil
    wide_t wide_join(int64_t high, uint64_t low) noexcept nogil
    double wide_double(wide_t a) noexcept nogil
    wide_t wide_scale(wide_t a, int64_t b) noexcept nogil
    int64_t RATE_ONE "CASCADE_RATE_ONE"
    int64_t money_linear(int64_t n, int64_t p, int64_t c) noexcept nogil
    int64_t money_linear_mark(int64_t n, int64_t p, int64_t c) noexcept nogil
    int64_t money_inverse(int64_t n, int64_t a, int64_t p, int64_t b) noexcept nogil
    int64_t money_inverse_mark(int64_t n, int64_t a, int64_t p, int64_t b) noexcept nogil
    int64_t money_part_up(int64_t rate, int64_t amount, int64_t one) noexcept nogil
    int64_t money_rate_up(int64_t rate, int64_t amount) noexcept nogil
    int64_t money_size_rate(int64_t size, int64_t num, int64_t den) noexcept nogil
    int64_t money_after_fee(int64_t rate, int64_t v) noexcept nogil
    int ratio_order(
        double a_near, int64_t a_num, int64_t a_den, double b_near, int64_t b_num, int64_t b_den
    ) noexcept nogil
    int64_t money_share_even(int64_t a, int64_t k, int64_t n) noexcept nogil
    int64_t money_share_floor(int64_t a, int64_t k, int64_t n) noexcept nogil
    int64_t half_up(int64_t a, int64_t k, int64_t n) noexcept nogil
    int64_t share_capped(int64_t a, int64_t k, int64_t n) noexcept nogil
    int64_t wide_mean(wide_t sum, int64_t more, int64_t n) noexcept nogil
    wide_t money_share_rest(int64_t total, int64_t part, wide_t whole, int64_t* share) noexcept nogil
    int64_t money_price(int inverse, int64_t n, int64_t v, int64_t a, int64_t b, int up) noexcept nogil
    wide_t scaled_even(int64_t a, int64_t f) noexcept nogil
    wide_t scaled_down(int64_t a, int64_t f) noexcept nogil
    wide_t scaled_up(int64_t a, int64_t f) noexcept nogil
    int within_distance(int64_t p, int64_t t, int64_t low, int64_t high) noexcept nogil
    fraction_t fraction_of(wide_t num, wide_t den) noexcept nogil
    int64_t money_concession(
        int64_t adjustment, int64_t missing, int64_t needed, int64_t spread, int64_t own
    ) noexcept nogil
    int fraction_cmp(const fraction_t* a, const fraction_t* b) noexcept nogil
