// Choices and roundings with one meaning on every machine. Everything here and in the files that use it is IEEE float32,
// one operation at a time in the order written: no contraction, no flush to zero, correctly rounded / and sqrt.
#pragma once

// Not fminf and fmaxf: these may give either zero of +0 and -0, and a NaN's place decides.
__device__ inline float lower(float a, float b) { return a < b ? a : b; }
__device__ inline float higher(float a, float b) { return a < b ? b : a; }

// The next whole number at or below a value that fits int32.
__device__ inline float whole_below(float value) {
    const float toward_zero = float(int(value));
    return toward_zero > value ? toward_zero - 1.0f : toward_zero;
}

// The sum over a warp, in every lane; whole numbers, so in any order. All 32 lanes take part.
__device__ inline long long warp_sum(long long value) {
    for (int far = 16; far > 0; far /= 2) value += __shfl_xor_sync(0xffffffffu, value, far);
    return value;
}
