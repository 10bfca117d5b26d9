// Cubic convolution: the four weights and the sample of a picture with its gradient.
#pragma once
#include "arith.cuh"

#define RIM 4  // zeros around a picture: where all taps fall when a position is far outside

// Weights of the pixels at -1, 0, 1 and 2 for a position t of a pixel past 0 (Keys 1981, a = -0.75, as OpenCV has it).
__device__ inline void cubic_weights(float t, float* w) {
    const float a = -0.75f, far = t + 1.0f, rest = 1.0f - t;
    w[0] = ((a * far - 5.0f * a) * far + 8.0f * a) * far - 4.0f * a;
    w[1] = ((a + 2.0f) * t - (a + 3.0f)) * t * t + 1.0f;
    w[2] = ((a + 2.0f) * rest - (a + 3.0f)) * rest * rest + 1.0f;
    w[3] = 1.0f - w[0] - w[1] - w[2];
}

// Value and gradient (x, y, z) at (px, py) of pixels float4 [H + 2 RIM, W + 2 RIM]. Rows are blended first, then columns.
__device__ inline float4 sampled(const float4* image, int H, int W, float px, float py) {
    // Beyond these bounds all taps lie in the rim of zeros, as they do at the bound.
    px = lower(higher(-3.0f, px), float(W + 1));
    py = lower(higher(-3.0f, py), float(H + 1));
    const float left = whole_below(px), top = whole_below(py);
    float across[4], down[4];
    cubic_weights(px - left, across);
    cubic_weights(py - top, down);
    const int pitch = W + 2 * RIM;
    const float4* corner = image + (int(top) + RIM - 1) * pitch + int(left) + RIM - 1;
    float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
    for (int n = 0; n < 4; n++) {
        const float4 p0 = corner[n], p1 = corner[n + pitch], p2 = corner[n + 2 * pitch], p3 = corner[n + 3 * pitch];
        const float x = ((down[0] * p0.x + down[1] * p1.x) + down[2] * p2.x) + down[3] * p3.x;
        const float y = ((down[0] * p0.y + down[1] * p1.y) + down[2] * p2.y) + down[3] * p3.y;
        const float z = ((down[0] * p0.z + down[1] * p1.z) + down[2] * p2.z) + down[3] * p3.z;
        if (n == 0) {
            sum = {across[0] * x, across[0] * y, across[0] * z, 0.0f};
        } else {
            sum = {sum.x + across[n] * x, sum.y + across[n] * y, sum.z + across[n] * z, 0.0f};
        }
    }
    return sum;
}
