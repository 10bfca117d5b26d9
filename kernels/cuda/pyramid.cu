// Pictures and flow between the levels of a pyramid. One thread a pixel; the second axis of the grid counts planes.
#include "cubic.cuh"

// Grey values uint8 [n] to float32 [n].
extern "C" __global__ void widen(const unsigned char* gray, float* out, long long n) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = float(gray[i]);
}

// Bilinear, columns first, then rows, then times `scale`: float32 [N, H, W] into [N, h, w]. Rows `upper` and `under` with the
// weight `down` of the second, int32 and float32 [h]; columns `left` and `right` with `across` [w].
extern "C" __global__ void resize_linear(const float* planes, float* out, const int* upper, const int* under,
                                         const float* down, const int* left, const int* right, const float* across,
                                         float scale, int H, int W, int h, int w) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= h * w) return;
    const int y = i / w, x = i % w;
    const float* plane = planes + (long long)blockIdx.y * H * W;
    const float *row0 = plane + upper[y] * W, *row1 = plane + under[y] * W;
    const float fx = across[x], fy = down[y];
    const float first = row0[left[x]] * (1.0f - fx) + row0[right[x]] * fx;
    const float second = row1[left[x]] * (1.0f - fx) + row1[right[x]] * fx;
    out[(long long)blockIdx.y * h * w + i] = (first * (1.0f - fy) + second * fy) * scale;
}

// Pictures [N, H, W] into float4 [N, H + 2 RIM, W + 2 RIM]: value, central differences along x and y, 0; zeros in the rim.
extern "C" __global__ void gradients(const float* planes, float4* out, int H, int W) {
    const int pitch = W + 2 * RIM, size = (H + 2 * RIM) * pitch;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    const int y = i / pitch - RIM, x = i % pitch - RIM;
    const float* plane = planes + (long long)blockIdx.y * H * W;
    float4 pixel = {0.0f, 0.0f, 0.0f, 0.0f};
    if (y >= 0 && y < H && x >= 0 && x < W) {
        const float* here = plane + y * W + x;
        // Outside stands the border pixel, so a difference there is half of a one-sided one.
        const int right = x < W - 1 ? 1 : 0, left = x > 0 ? 1 : 0, below = y < H - 1 ? W : 0, above = y > 0 ? W : 0;
        pixel.x = here[0];
        pixel.y = 0.5f * (here[right] - here[-left]);
        pixel.z = 0.5f * (here[below] - here[-above]);
    }
    out[(long long)blockIdx.y * size + i] = pixel;
}

// u and v planes [N, 2, H, W] to flow [N, H, W, 2]; `pixels` is H W.
extern "C" __global__ void interleave(const float* planes, float2* flow, int pixels) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= pixels) return;
    const float* plane = planes + (long long)blockIdx.y * 2 * pixels;
    flow[(long long)blockIdx.y * pixels + i] = make_float2(plane[i], plane[i + pixels]);
}

// The way back: flow [N, H, W, 2] to planes [N, 2, H, W].
extern "C" __global__ void separate(const float2* flow, float* planes, int pixels) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= pixels) return;
    const float2 pixel = flow[(long long)blockIdx.y * pixels + i];
    float* plane = planes + (long long)blockIdx.y * 2 * pixels;
    plane[i] = pixel.x;
    plane[i + pixels] = pixel.y;
}

// Multiply flow [n] of (u, v) by (su, sv).
extern "C" __global__ void scale_flow(float2* flow, float su, float sv, long long n) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) flow[i] = make_float2(flow[i].x * su, flow[i].y * sv);
}
