// The directions of every block of a crop: what kernels/cpu/blocks.py says. One thread block a block of the layout.
#include "arith.cuh"

#define UNIT 65536.0f
#define TINY 2.220446049250313e-16f  // keeps 0 / 0 out, as OpenCV's fastAtan2 does
#define DEGREES 57.29577951308232f
#define P1 (0.9997878412794807f * DEGREES)
#define P3 (-0.3258083974640975f * DEGREES)
#define P5 (0.1555786518463281f * DEGREES)
#define P7 (-0.04432655554792128f * DEGREES)

// Of `summed` [2 (d/dx, d/dy), H, W, 2 (u, v)] on the crop of `size` at (y0, x0): votes in 1/65536 pixel by block and
// direction, `out` int64 [2 (u, v), B, 8], zeroed by the caller. Block b is the pixels y * size + x of
// pixels[start[b] .. start[b + 1]]. The grid is B blocks by u and v.
extern "C" __global__ void orientations(const float* summed, const int* start, const int* pixels,
                                        unsigned long long* out, int y0, int x0, int size, int H, int W, int B) {
    const int block = blockIdx.x, c = blockIdx.y;
    long long bins[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int k = start[block] + threadIdx.x; k < start[block + 1]; k += blockDim.x) {
        const int y = y0 + pixels[k] / size, x = x0 + pixels[k] % size;
        const float mx = summed[(y * W + x) * 2 + c], my = summed[((H + y) * W + x) * 2 + c];
        const float ax = fabsf(mx), ay = fabsf(my);
        const float major = ax >= ay ? ax : ay, minor = ax >= ay ? ay : ax;
        const float t = minor / (major + TINY), t2 = t * t;
        const float degrees = (((P7 * t2 + P5) * t2 + P3) * t2 + P1) * t;
        const float magnitude = sqrtf(mx * mx + my * my) * UNIT;
        const long long votes = (long long)(magnitude + 0.5f);
        const long long diagonals = (long long)(magnitude * (degrees / 45.0f) + 0.5f);
        // The bins of the octant: that of the nearer axis, and that of the diagonal.
        const bool to_left = mx < 0.0f, up = my < 0.0f;
        const int axis = ax < ay ? (up ? 6 : 2) : (to_left ? 4 : 0);
        const int diagonal = up ? (to_left ? 5 : 7) : (to_left ? 3 : 1);
#pragma unroll
        for (int bin = 0; bin < 8; bin++) {
            bins[bin] += bin == axis ? votes - diagonals : 0;
            bins[bin] += bin == diagonal ? diagonals : 0;
        }
    }
#pragma unroll
    for (int bin = 0; bin < 8; bin++) {
        const long long sum = warp_sum(bins[bin]);
        if (threadIdx.x % 32 == 0 && sum) atomicAdd(&out[(c * B + block) * 8 + bin], (unsigned long long)sum);
    }
}
