// TV-L1 on one pyramid level: a team of blocks takes one frame pair from its first warp to its last, without leaving the
// kernel. Each block owns a band of rows; the stop test is summed in whole numbers, so every block stops at the same iteration.
//
// The method and its order of operations are those of kernels/cpu/solver.py. "IPOL" is Sanchez Perez, Meinhardt-Llopis,
// Facciolo, "TV-L1 Optical Flow Estimation", IPOL 2013.
#include "cubic.cuh"
#include "median.cuh"
#include "team.cuh"

#ifndef THREADS
#define THREADS 1024
#endif

#define EPS 1.1920928955078125e-07f
#define CHANGE_CAP 1073741824.0f  // 2^30: where one pixel's squared change saturates, in the units of the stop test

// The planes of a band, indexed by (y - top) * W + x from the pointers, which stand at each group's first plane; a plane's
// distance from the one before it is in floats. u ends with the row below the band, and p12 and p22 begin, before their first
// pixel, with the row above it. Where planes lie in shared memory, the blocks that own these rows write them there as well.
struct Band {
    float *u, *p, *g;
    int next_u, next_p, pair_p, next_g;
    int height, top, rows, H, W;  // height: rows of every band but the last ones

    __device__ float& u1(int i) const { return u[i]; }
    __device__ float& u2(int i) const { return u[i + next_u]; }
    __device__ float& p11(int i) const { return p[i]; }
    __device__ float& p12(int i) const { return p[i + next_p]; }
    __device__ float& p21(int i) const { return p[i + pair_p]; }
    __device__ float& p22(int i) const { return p[i + pair_p + next_p]; }
    __device__ float& gx(int i) const { return g[i]; }
    __device__ float& gy(int i) const { return g[i + next_g]; }
    __device__ float& rho_c(int i) const { return g[i + 2 * next_g]; }
    __device__ float& step(int i) const { return g[i + 3 * next_g]; }
};

struct Rates {
    float reach, theta, taut, unit;
};

// Call visit(i, y, x) for every pixel of rows 0 .. rows-1, each always in the same thread; i = y W + x.
template <class Visit>
__device__ inline void each_pixel(int rows, int W, Visit visit) {
    const int down = blockDim.x / W, right = blockDim.x % W;
    int y = threadIdx.x / W, x = threadIdx.x % W;
    for (int i = threadIdx.x; y < rows; i += blockDim.x) {
        visit(i, y, x);
        x += right;
        y += down;
        if (x >= W) {
            x -= W;
            y++;
        }
    }
}

// Sample I1 and its gradient at x + u; rho_c = I1w - gx u1 - gy u2 - I0 and step = -1 / |grad|^2, 0 where it vanishes.
__device__ inline void warp(const Band& b, const float* I0, const float4* I1) {
    each_pixel(b.rows, b.W, [&](int i, int y, int x) {
        const float u = b.u1(i), v = b.u2(i);
        const float4 s = sampled(I1, b.H, b.W, float(x) + u, float(b.top + y) + v);
        const float grad = s.y * s.y + s.z * s.z;
        b.gx(i) = s.y;
        b.gy(i) = s.z;
        b.rho_c(i) = ((s.x - s.y * u) - s.z * v) - I0[b.top * b.W + i];
        b.step(i) = grad > EPS ? -1.0f / grad : 0.0f;
    });
}

// Threshold the residual along the gradient (the operator TH of IPOL, as one clamp), then u = v + theta div p. Returns this
// thread's part of the squared change, in units of `unit`.
template <bool SHARED>
__device__ inline long long update_u(const Band& b, const Rates& r, int rank) {
    long long change = 0;
    // Where the block above keeps our first row.
    float* above = SHARED && rank > 0 ? team_peer(b.u, rank - 1) + b.height * b.W : nullptr;
    each_pixel(b.rows, b.W, [&](int i, int y, int x) {
        const float u = b.u1(i), v = b.u2(i), ix = b.gx(i), iy = b.gy(i);
        float along = (b.rho_c(i) + (ix * u + iy * v)) * b.step(i);
        along = lower(higher(along, -r.reach), r.reach);
        const bool first_row = b.top + y == 0, first_column = x == 0;
        const float left1 = first_column ? 0.0f : b.p11(i - 1), left2 = first_column ? 0.0f : b.p21(i - 1);
        const float upper1 = first_row ? 0.0f : b.p12(i - b.W), upper2 = first_row ? 0.0f : b.p22(i - b.W);
        const float div1 = (b.p11(i) - left1) + (b.p12(i) - upper1);
        const float div2 = (b.p21(i) - left2) + (b.p22(i) - upper2);
        const float new_u = (u + along * ix) + r.theta * div1;
        const float new_v = (v + along * iy) + r.theta * div2;
        b.u1(i) = new_u;
        b.u2(i) = new_v;
        if (SHARED && y == 0 && rank > 0) {
            above[x] = new_u;
            above[x + b.next_u] = new_v;
        }
        const float du = new_u - u, dv = new_v - v;
        change += int(lower((du * du + dv * dv) * r.unit + 0.5f, CHANGE_CAP));
    });
    return change;
}

// p = (p + G) / (1 + |G|) with G = tau/theta grad u, forward differences, 0 where they would leave the picture.
template <bool SHARED>
__device__ inline void update_p(const Band& b, const Rates& r, int rank) {
    // Where the block below keeps our last row.
    float* under = SHARED && rank < TEAM - 1 ? team_peer(b.p, rank + 1) + b.next_p - b.W : nullptr;
    each_pixel(b.rows, b.W, [&](int i, int y, int x) {
        const bool last_row = b.top + y == b.H - 1, last_column = x == b.W - 1;
        const float u = b.u1(i), v = b.u2(i);
        const float ux = last_column ? 0.0f : r.taut * (b.u1(i + 1) - u), uy = last_row ? 0.0f : r.taut * (b.u1(i + b.W) - u);
        const float vx = last_column ? 0.0f : r.taut * (b.u2(i + 1) - v), vy = last_row ? 0.0f : r.taut * (b.u2(i + b.W) - v);
        const float shrink_u = 1.0f / (1.0f + sqrtf(ux * ux + uy * uy));
        const float shrink_v = 1.0f / (1.0f + sqrtf(vx * vx + vy * vy));
        b.p11(i) = (b.p11(i) + ux) * shrink_u;
        b.p21(i) = (b.p21(i) + vx) * shrink_v;
        const float p12 = (b.p12(i) + uy) * shrink_u, p22 = (b.p22(i) + vy) * shrink_v;
        b.p12(i) = p12;
        b.p22(i) = p22;
        if (SHARED && y == b.rows - 1 && !last_row) {
            under[x] = p12;
            under[x + b.pair_p] = p22;
        }
    });
}

// Median of u and v, by way of whole planes [2, H, W] in global memory, where every block sees its neighbours' rows.
template <bool SHARED>
__device__ inline void median(const Band& b, float* whole, int side, int rank) {
    const int pixels = b.H * b.W, own = b.top * b.W;
    each_pixel(b.rows, b.W, [&](int i, int, int) {
        whole[own + i] = b.u1(i);
        whole[pixels + own + i] = b.u2(i);
    });
    team_sync();
#pragma unroll 1  // twice the network's code gains nothing
    for (int c = 0; c < 2; c++) {
        const float* plane = whole + c * pixels;
        float* u = b.u + c * b.next_u;
        float* above = SHARED && rank > 0 ? team_peer(u, rank - 1) + b.height * b.W : nullptr;
        const auto put = [&](int y, int x, float value) {
            u[y * b.W + x] = value;
            if (SHARED && y == 0 && rank > 0) above[x] = value;
        };
        if (side == 5) {
            each_pixel((b.rows + 1) / 2, b.W, [&](int, int pair, int x) {
                float upper, under;
                median5(plane, b.H, b.W, b.top + 2 * pair, x, upper, under);
                put(2 * pair, x, upper);
                if (2 * pair + 1 < b.rows) put(2 * pair + 1, x, under);
            });
        } else {
            each_pixel(b.rows, b.W, [&](int, int y, int x) { put(y, x, median3(plane, b.H, b.W, b.top + y, x)); });
        }
    }
    team_sync();
}

// All warps of a level. `sums` is room for TEAM * 32 whole numbers in shared memory. Returns the inner iterations made.
template <bool SHARED>
__device__ inline int solve(const Band& b, const Rates& r, const float* I0, const float4* I1, float* whole, long long* sums,
                            int rank, int warps, int outer_iterations, int inner_iterations, int side, long long stop) {
    const int lane = threadIdx.x % 32, warp_number = threadIdx.x / 32, warps_of_block = blockDim.x / 32;
    int made = 0;
    for (int w = 0; w < warps; w++) {
        warp(b, I0, I1);
        long long change = stop + 1;
        for (int outer = 0; outer < outer_iterations && change > stop; outer++) {
            if (side > 1) median<SHARED>(b, whole, side, rank);
            for (int inner = 0; inner < inner_iterations && change > stop; inner++) {
                const long long mine = warp_sum(update_u<SHARED>(b, r, rank));
                if (lane < TEAM) team_peer(sums, lane)[rank * 32 + warp_number] = mine;
                team_sync();
                update_p<SHARED>(b, r, rank);
                change = 0;
                for (int block = 0; block < TEAM; block++) change += lane < warps_of_block ? sums[block * 32 + lane] : 0;
                change = warp_sum(change);
                team_sync();
                made++;
            }
        }
    }
    return made;
}

// Of each pair n the frames first[n] and second[n] of I0 float32 [frames, H, W] and I1 float4 [frames, H + 8, W + 8]; flow
// [pairs, 2, H, W] in and out; `whole` [pairs, 2, H, W] and `state` [pairs, 8, H, W] (not used where planes are shared) are
// room; `made` int32 [pairs] grows by the iterations. `height` is that of a band: even, so that medians share their rows.
#define SOLVE_PARAMETERS                                                                                               \
    const float *I0, const float4 *I1, const int *first, const int *second, float *flow, float *whole, float *state,     \
        int *made, int H, int W, int height, int warps, int outer_iterations, int inner_iterations, int side,           \
        float reach, float theta, float taut, float unit, long long stop

template <bool SHARED>
__device__ inline void solve_pair(SOLVE_PARAMETERS) {
    SHARED_MEMORY(memory);
    long long* sums = reinterpret_cast<long long*>(memory);
    const int rank = team_rank(), pair = team_number(), pixels = H * W;
    const int top = rank * height < H ? rank * height : H, rows = height < H - top ? height : H - top;
    const int own = top * W, band = height * W;
    float* u = flow + (long long)pair * 2 * pixels;
    Band b;
    b.height = height, b.top = top, b.rows = rows, b.H = H, b.W = W;
    if (SHARED) {
        b.u = reinterpret_cast<float*>(sums + TEAM * 32), b.next_u = band + W;
        b.p = b.u + 2 * b.next_u, b.next_p = band + W, b.pair_p = 2 * band + W;
        b.g = b.p + 2 * b.pair_p, b.next_g = band;
        each_pixel(rows, W, [&](int i, int, int) {
            b.u1(i) = u[own + i];
            b.u2(i) = u[pixels + own + i];
        });
    } else {
        b.u = u + own, b.next_u = pixels;
        b.p = state + (long long)pair * 8 * pixels + own, b.next_p = pixels, b.pair_p = 2 * pixels;
        b.g = b.p + 4 * pixels, b.next_g = pixels;
    }
    each_pixel(rows, W, [&](int i, int, int) { b.p11(i) = b.p12(i) = b.p21(i) = b.p22(i) = 0.0f; });
    if (SHARED) {
        for (int x = threadIdx.x; x < W; x += blockDim.x) b.p12(x - W) = b.p22(x - W) = 0.0f;
    }
    team_sync();
    const int pitch = W + 2 * RIM;
    const Rates r = {reach, theta, taut, unit};
    const int iterations = solve<SHARED>(b, r, I0 + (long long)first[pair] * pixels,
                                         I1 + (long long)second[pair] * (H + 2 * RIM) * pitch,
                                         whole + (long long)pair * 2 * pixels, sums, rank, warps, outer_iterations,
                                         inner_iterations, side, stop);
    if (SHARED) {
        each_pixel(rows, W, [&](int i, int, int) {
            u[own + i] = b.u1(i);
            u[pixels + own + i] = b.u2(i);
        });
    }
    if (rank == 0 && threadIdx.x == 0) made[pair] += iterations;
}

#define SOLVE_ARGUMENTS                                                                                                 \
    I0, I1, first, second, flow, whole, state, made, H, W, height, warps, outer_iterations, inner_iterations, side, reach, \
        theta, taut, unit, stop

// Planes in the shared memory of the team's blocks: TEAM * 32 sums and (10 height + 4) W floats each.
extern "C" __global__ void TEAM_OF_BLOCKS __launch_bounds__(THREADS) solve_shared(SOLVE_PARAMETERS) {
    solve_pair<true>(SOLVE_ARGUMENTS);
}

// Planes in global memory, for levels too large for that.
extern "C" __global__ void TEAM_OF_BLOCKS __launch_bounds__(THREADS) solve_global(SOLVE_PARAMETERS) {
    solve_pair<false>(SOLVE_ARGUMENTS);
}
