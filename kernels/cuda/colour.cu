// The colours of every block of a crop: what kernels/cpu/colour.py says. One thread block of 256 a block of the layout.
#include "arith.cuh"
#include "team.cuh"

#define BINS 768  // 256 a channel

// Of rgb uint8 [T, H, W, 3] on the crop of `size` at (y0, x0), `overlap` int64 [B, 3 (R, G, B), 2]: sums over the bins of the
// smallest and of the largest count among the frames; `classes` int64 [B, 8]: pixels in the colour classes, over all frames.
// Both zeroed by the caller. Block b is the pixels y * size + x of pixels[start[b] .. start[b + 1]].
extern "C" __global__ void __launch_bounds__(256) colours(const unsigned char* rgb, const int* start, const int* pixels,
                                                         unsigned long long* overlap, unsigned long long* classes,
                                                         int y0, int x0, int size, int T, int H, int W) {
    SHARED_MEMORY(memory);
    unsigned int* bins = reinterpret_cast<unsigned int*>(memory);
    const int block = blockIdx.x, lane = threadIdx.x % 32;
    unsigned int low[3], high[3];
    long long kinds[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int t = 0; t < T; t++) {
        const unsigned char* frame = rgb + (long long)t * H * W * 3;
        for (int c = 0; c < 3; c++) bins[256 * c + threadIdx.x] = 0;
        __syncthreads();
        for (int k = start[block] + threadIdx.x; k < start[block + 1]; k += blockDim.x) {
            const unsigned char* pixel = frame + ((y0 + pixels[k] / size) * W + x0 + pixels[k] % size) * 3;
            const int red = pixel[0], green = pixel[1], blue = pixel[2];
            atomicAdd(&bins[red], 1u);
            atomicAdd(&bins[256 + green], 1u);
            atomicAdd(&bins[512 + blue], 1u);
            // 0 blue, 1 cyan, 2 magenta, 3 white, 4 black, 5 green, 6 red, 7 yellow
            const int kind = (red >> 7) * 2 + (green >> 7) + ((blue >> 7) ^ 1) * 4;
#pragma unroll
            for (int n = 0; n < 8; n++) kinds[n] += n == kind;
        }
        __syncthreads();
        for (int c = 0; c < 3; c++) {
            const unsigned int count = bins[256 * c + threadIdx.x];
            low[c] = t == 0 || count < low[c] ? count : low[c];
            high[c] = t == 0 || count > high[c] ? count : high[c];
        }
    }
    for (int c = 0; c < 3; c++) {
        const long long smallest = warp_sum(low[c]), largest = warp_sum(high[c]);
        if (lane == 0) atomicAdd(&overlap[(block * 3 + c) * 2], (unsigned long long)smallest);
        if (lane == 0) atomicAdd(&overlap[(block * 3 + c) * 2 + 1], (unsigned long long)largest);
    }
#pragma unroll
    for (int n = 0; n < 8; n++) {
        const long long sum = warp_sum(kinds[n]);
        if (lane == 0) atomicAdd(&classes[block * 8 + n], (unsigned long long)sum);
    }
}
