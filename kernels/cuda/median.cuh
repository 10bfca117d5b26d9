// The median filter: the comparators of the CPU's network, in its order, so that even the sign of a zero is the same.
#pragma once
#include "arith.cuh"

// Sorted values.
template <int N>
struct Ranks {
    float at[N > 0 ? N : 1];
};

// Merge two sorted lists: Batcher's odd-even network for any two lengths.
template <int A, int B>
__device__ inline Ranks<A + B> merged(const Ranks<A>& a, const Ranks<B>& b) {
    Ranks<A + B> result;
    if constexpr (A == 0) {
#pragma unroll
        for (int n = 0; n < B; n++) result.at[n] = b.at[n];
    } else if constexpr (B == 0) {
#pragma unroll
        for (int n = 0; n < A; n++) result.at[n] = a.at[n];
    } else if constexpr (A == 1 && B == 1) {
        result.at[0] = lower(a.at[0], b.at[0]);
        result.at[1] = higher(a.at[0], b.at[0]);
    } else {
        constexpr int even_a = (A + 1) / 2, even_b = (B + 1) / 2, odd_a = A / 2, odd_b = B / 2;
        constexpr int evens_of = even_a + even_b, odds_of = odd_a + odd_b;
        Ranks<even_a> a_even;
        Ranks<even_b> b_even;
        Ranks<odd_a> a_odd;
        Ranks<odd_b> b_odd;
#pragma unroll
        for (int n = 0; n < even_a; n++) a_even.at[n] = a.at[2 * n];
#pragma unroll
        for (int n = 0; n < odd_a; n++) a_odd.at[n] = a.at[2 * n + 1];
#pragma unroll
        for (int n = 0; n < even_b; n++) b_even.at[n] = b.at[2 * n];
#pragma unroll
        for (int n = 0; n < odd_b; n++) b_odd.at[n] = b.at[2 * n + 1];
        const Ranks<evens_of> evens = merged(a_even, b_even);
        const Ranks<odds_of> odds = merged(a_odd, b_odd);
        result.at[0] = evens.at[0];
        // The list grows by two where an odd and an even meet, and by what is left of one of them at its end.
        constexpr int both = odds_of < evens_of - 1 ? odds_of : evens_of - 1;
#pragma unroll
        for (int n = 0; n < both; n++) {
            result.at[2 * n + 1] = lower(odds.at[n], evens.at[n + 1]);
            result.at[2 * n + 2] = higher(odds.at[n], evens.at[n + 1]);
        }
#pragma unroll
        for (int n = both; n < odds_of; n++) result.at[n + both + 1] = odds.at[n];
#pragma unroll
        for (int n = both + 1; n < evens_of; n++) result.at[n + both] = evens.at[n];
    }
    return result;
}

__device__ inline int within(int i, int size) { return i < 0 ? 0 : i >= size ? size - 1 : i; }

__device__ inline Ranks<1> pixel(const float* plane, int H, int W, int y, int x) {
    return {{plane[within(y, H) * W + within(x, W)]}};
}

// The five pixels about (y, x) in its row, sorted; the border is replicated, above and below too.
__device__ inline Ranks<5> sorted_row(const float* plane, int H, int W, int y, int x) {
    const Ranks<1> a = pixel(plane, H, W, y, x - 2), b = pixel(plane, H, W, y, x - 1), c = pixel(plane, H, W, y, x);
    const Ranks<1> d = pixel(plane, H, W, y, x + 1), e = pixel(plane, H, W, y, x + 2);
    return merged(merged(a, b), merged(c, merged(d, e)));
}

// The 13th of 25 from ranks 8 to 13 of twenty, s[7] on, and the other five in order, c.
__device__ inline float median_with(const Ranks<20>& s, const Ranks<5>& c) {
    const float low = lower(lower(higher(s.at[11], c.at[0]), higher(s.at[10], c.at[1])),
                            lower(higher(s.at[9], c.at[2]), higher(s.at[8], c.at[3])));
    return lower(low, lower(higher(s.at[7], c.at[4]), s.at[12]));
}

// 5 x 5 medians at (y, x) and (y + 1, x) of a plane [H, W], y even: their windows share four rows.
__device__ inline void median5(const float* plane, int H, int W, int y, int x, float& upper, float& under) {
    const Ranks<10> old = merged(sorted_row(plane, H, W, y - 1, x), sorted_row(plane, H, W, y, x));
    const Ranks<10> pair = merged(sorted_row(plane, H, W, y + 1, x), sorted_row(plane, H, W, y + 2, x));
    const Ranks<20> shared = merged(old, pair);
    upper = median_with(shared, sorted_row(plane, H, W, y - 2, x));
    under = median_with(shared, sorted_row(plane, H, W, y + 3, x));
}

__device__ inline Ranks<3> sorted_three(const float* plane, int H, int W, int y, int x) {
    const Ranks<1> a = pixel(plane, H, W, y, x - 1), b = pixel(plane, H, W, y, x), c = pixel(plane, H, W, y, x + 1);
    return merged(merged(a, b), c);
}

// 3 x 3 median at (y, x). Rows are merged in the order of their numbers modulo 3, counted from 2, as the CPU keeps them.
__device__ inline float median3(const float* plane, int H, int W, int y, int x) {
    const int above = (y + 1) % 3;
    const int first = (3 - above) % 3, second = (4 - above) % 3, third = (5 - above) % 3;
    const Ranks<6> two = merged(sorted_three(plane, H, W, y - 1 + first, x), sorted_three(plane, H, W, y - 1 + second, x));
    return merged(two, sorted_three(plane, H, W, y - 1 + third, x)).at[4];
}
