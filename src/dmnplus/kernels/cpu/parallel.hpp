// Threads and scratch memory.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <unistd.h>
#endif

namespace dmnplus {

// Memory that only grows, one per thread and purpose: a call would otherwise pay for fresh pages each time.
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(memory_); }

  float* floats(size_t count) {
    if (count > size_) {
      std::free(memory_);
      size_ = 0;
      memory_ = static_cast<float*>(std::aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64));
      if (memory_ == nullptr) throw std::bad_alloc();
      size_ = count;
    }
    return memory_;
  }

 private:
  float* memory_ = nullptr;
  size_t size_ = 0;
};

// GNU OpenMP hangs in a child made by fork() once the parent has used it: the child takes plain threads instead.
inline bool in_forked_child = false;
#if defined(__unix__) || defined(__APPLE__)
inline const int fork_watched = pthread_atfork(nullptr, nullptr, [] { in_forked_child = true; });
#endif

// Calls work(i) for each i of [0, count), each once, on at most `threads` threads; i is handed out in order.
template <class Work>
void for_each(int64_t threads, int64_t count, const Work& work) {
  threads = std::min(threads, count);
  if (threads <= 1) {
    for (int64_t i = 0; i < count; i++) work(i);
    return;
  }
  std::atomic<int64_t> next{0};
  const auto run = [&] {
    for (int64_t i = next++; i < count; i = next++) work(i);
  };
#if defined(_OPENMP)
  if (!in_forked_child) {
#pragma omp parallel num_threads(static_cast<int>(threads))
    run();
    return;
  }
#endif
  std::vector<std::thread> helpers;
  helpers.reserve(threads - 1);
  try {
    while (static_cast<int64_t>(helpers.size()) < threads - 1) helpers.emplace_back(run);
  } catch (const std::system_error&) {
    // No more threads to be had: those that run, and this one, share the work.
  }
  run();
  for (std::thread& helper : helpers) helper.join();
}

// Threads worth waking for so many floating-point operations: each should have some 30 microseconds of work.
inline int64_t threads_worth(int64_t threads, double flops) {
  return std::max<int64_t>(1, std::min<int64_t>(threads, static_cast<int64_t>(flops / 1e6)));
}

// Work that is one item a group is cut into so many pieces, so that one group is work for all threads.
constexpr int64_t PIECES = 8;

// Adds all lanes [groups][lanes][size] to the first one of their group, in their order.
inline void add_lanes(int64_t threads, int64_t groups, int64_t lanes, int64_t size, float* partials) {
  for_each(threads, groups * PIECES, [&](int64_t item) {
    const int64_t g = item / PIECES, piece = item % PIECES;
    float* sum = partials + g * lanes * size;
    for (int64_t lane = 1; lane < lanes; lane++) {
      const float* from = sum + lane * size;
      for (int64_t l = piece * size / PIECES; l < (piece + 1) * size / PIECES; l++) sum[l] += from[l];
    }
  });
}

// Runs on a problem of Python's block, whose first `size` bytes that fills: nothing may be thrown through the C
// interface. Returns 0, or 1 where memory ran out.
template <class Problem, class Run>
int guarded(const void* fields, size_t size, const Run& run) {
  try {
    Problem problem = {};
    std::memcpy(&problem, fields, size);
    run(problem);
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}

}  // namespace dmnplus
