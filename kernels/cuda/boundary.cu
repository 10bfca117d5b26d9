// Motion boundaries of one clip, flow in 8 bits, and whether flow is finite: what kernels/cpu/boundary.py says.
#include "arith.cuh"

#define LIMIT 2048.0f
#define UNIT 65536.0f  // magnitudes leave in 1/65536 of a pixel, as whole numbers

// Set `bad` to 1 where a value of float32 [n], seen as its bits, is an infinity or NaN.
extern "C" __global__ void find_not_finite(const int* bits, int* bad, long long n) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && (bits[i] & 0x7f800000) == 0x7f800000) *bad = 1;
}

// Store flow [n] in 8 bits over -20..20 pixels and read it back; round half to even.
extern "C" __global__ void quantise(const float* flow, float* out, long long n) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float f = flow[i];
    f = f < -20.0f ? -20.0f : f;
    f = f > 20.0f ? 20.0f : f;
    const float q = rintf((f + 20.0f) * 255.0f / 40.0f);
    out[i] = q * 40.0f / 255.0f - 20.0f;
}

// Pixel (y, x) of a field [H, W, 2], limited; the border is replicated.
__device__ inline float2 limited(const float2* field, int H, int W, int y, int x) {
    y = y < 0 ? 0 : y >= H ? H - 1 : y;
    x = x < 0 ? 0 : x >= W ? W - 1 : x;
    float2 f = field[y * W + x];
    f.x = f.x > LIMIT ? LIMIT : f.x;
    f.y = f.y > LIMIT ? LIMIT : f.y;
    f.x = f.x < -LIMIT ? -LIMIT : f.x;
    f.y = f.y < -LIMIT ? -LIMIT : f.y;
    return f;
}

// Prewitt differences along x and y about a pixel, for the values n of its neighbours in rows.
__device__ inline float2 prewitt(float n00, float n01, float n02, float n10, float n12, float n20, float n21, float n22) {
    return make_float2(((n00 - n02) + (n20 - n22)) + (n10 - n12), ((n00 - n20) + (n02 - n22)) + (n01 - n21));
}

// Of flow [F, H, W, 2]: boundaries added over the fields, `summed` [2 (d/dx, d/dy), H, W, 2]; and of each of the first G
// fields the sum of sqrt(bx^2 + by^2) over crops of `size` at `corners` int64 [C, 2 (y, x)], `frames` [C, 2 (u, v), G], zeroed
// by the caller. One thread a pixel.
extern "C" __global__ void boundaries(const float2* flow, const long long* corners, float2* summed,
                                      unsigned long long* frames, int F, int H, int W, int C, int G, int size) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
    const bool inside = i < H * W;
    const int y = inside ? i / W : 0, x = inside ? i % W : 0;
    float2 sum_x = {0.0f, 0.0f}, sum_y = {0.0f, 0.0f};
    for (int f = 0; f < F; f++) {
        const float2* field = flow + (long long)f * H * W;
        const float2 n00 = limited(field, H, W, y - 1, x - 1), n01 = limited(field, H, W, y - 1, x);
        const float2 n02 = limited(field, H, W, y - 1, x + 1), n10 = limited(field, H, W, y, x - 1);
        const float2 n12 = limited(field, H, W, y, x + 1), n20 = limited(field, H, W, y + 1, x - 1);
        const float2 n21 = limited(field, H, W, y + 1, x), n22 = limited(field, H, W, y + 1, x + 1);
        const float2 u = prewitt(n00.x, n01.x, n02.x, n10.x, n12.x, n20.x, n21.x, n22.x);
        const float2 v = prewitt(n00.y, n01.y, n02.y, n10.y, n12.y, n20.y, n21.y, n22.y);
        sum_x.x += u.x, sum_y.x += u.y, sum_x.y += v.x, sum_y.y += v.y;
        if (f >= G) continue;
        const int strength_u = int(sqrtf(u.x * u.x + u.y * u.y) * UNIT + 0.5f);
        const int strength_v = int(sqrtf(v.x * v.x + v.y * v.y) * UNIT + 0.5f);
        for (int c = 0; c < C; c++) {
            const int top = int(corners[2 * c]), left = int(corners[2 * c + 1]);
            const bool counts = inside && y >= top && y < top + size && x >= left && x < left + size;
            const long long total_u = warp_sum(counts ? strength_u : 0), total_v = warp_sum(counts ? strength_v : 0);
            if (lane == 0 && total_u) atomicAdd(&frames[(c * 2 + 0) * G + f], (unsigned long long)total_u);
            if (lane == 0 && total_v) atomicAdd(&frames[(c * 2 + 1) * G + f], (unsigned long long)total_v);
        }
    }
    if (inside) {
        summed[i] = sum_x;
        summed[H * W + i] = sum_y;
    }
}
