// A team: TEAM thread blocks that share one piece of work. On sm_90 they are a cluster, which sees each other's shared
// memory and waits for each other without leaving the kernel; elsewhere a team is one block.
#pragma once

#ifndef TEAM
#define TEAM 1
#endif

#if TEAM > 1
#define TEAM_OF_BLOCKS __cluster_dims__(TEAM, 1, 1)
#else
#define TEAM_OF_BLOCKS
#endif

// This block's place in its team, and the team's in the grid.
__device__ inline int team_rank() { return int(blockIdx.x % TEAM); }
__device__ inline int team_number() { return int(blockIdx.x / TEAM); }

#if defined(VSTATS_EMULATED)
// The emulator's own team_sync and team_peer stand in its header.
#elif TEAM > 1
// Wait for every thread of the team; what they wrote, to shared or global memory, is then seen by all of them.
__device__ inline void team_sync() {
    asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
}

// The address in the shared memory of the team's block `rank` that `own` is in this block's.
template <class T>
__device__ inline T* team_peer(T* own, int rank) {
    unsigned long long peer;
    asm("mapa.u64 %0, %1, %2;" : "=l"(peer) : "l"(reinterpret_cast<unsigned long long>(own)), "r"(rank));
    return reinterpret_cast<T*>(peer);
}
#else
__device__ inline void team_sync() { __syncthreads(); }

template <class T>
__device__ inline T* team_peer(T* own, int) {
    return own;
}
#endif

// Dynamic shared memory, all that a kernel uses of it.
#if !defined(VSTATS_EMULATED)
#define SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]
#endif
