// What the kernel benchmarks share: data and code on the GPU, launches timed as they run in a model, in a recorded graph.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/cuda/driver.h"

namespace tenon::bench {

// Ends the program where something fails.
inline void require(const Status& status) {
  if (status.ok()) return;
  fmt::print(stderr, "{}\n", status.message());
  std::exit(1);
}
template <class T>
T require(Result<T> result) {
  require(result.status());
  return std::move(*result);
}

// The caller frees it.
template <class T>
cuda::DevicePtr upload(const cuda::Device& device, const std::vector<T>& host) {
  cuda::DevicePtr data = 0;
  const size_t bytes = host.size() * sizeof(T);
  require(cuda::check(device.api().cuMemAlloc(&data, bytes), "allocating"));
  require(cuda::check(device.api().cuMemcpyHtoDAsync(data, host.data(), bytes, nullptr), "uploading"));
  require(cuda::check(device.api().cuStreamSynchronize(nullptr), "uploading"));
  return data;
}

// A kernel's machine code on the device; the caller unloads the module.
struct Loaded {
  cuda::Module module = nullptr;
  cuda::Function function = nullptr;
};
inline Loaded load_code(const cuda::Device& device, const std::string& code, const std::string& entry) {
  Loaded loaded;
  require(cuda::check(device.api().cuModuleLoadData(&loaded.module, code.data()), "loading"));
  require(cuda::check(device.api().cuModuleGetFunction(&loaded.function, loaded.module, entry.c_str()), "finding"));
  return loaded;
}

// Microseconds of one launch: `launches` of them, one depending on the other, are recorded in a graph; the median of
// nine replays after two that do not count. `launch(i)` enqueues the i-th on `stream`.
template <class F>
double time_launches(const cuda::Device& device, cuda::Stream stream, int launches, F&& launch) {
  constexpr int kReplays = 9, kWarmUp = 2, kRelaxed = 2;
  const cuda::Driver& api = device.api();
  require(cuda::check(api.cuStreamBeginCapture(stream, kRelaxed), "capturing"));
  for (int i = 0; i < launches; ++i) require(launch(i));
  cuda::Graph graph = nullptr;
  cuda::GraphExec replay = nullptr;
  require(cuda::check(api.cuStreamEndCapture(stream, &graph), "capturing"));
  require(cuda::check(api.cuGraphInstantiateWithFlags(&replay, graph, 0), "instantiating"));
  cuda::Event begin = nullptr, end = nullptr;
  require(cuda::check(api.cuEventCreate(&begin, 0), "event"));
  require(cuda::check(api.cuEventCreate(&end, 0), "event"));
  std::vector<float> times;
  for (int i = 0; i < kReplays + kWarmUp; ++i) {
    api.cuEventRecord(begin, stream);
    require(cuda::check(api.cuGraphLaunch(replay, stream), "launching"));
    api.cuEventRecord(end, stream);
    require(cuda::check(api.cuEventSynchronize(end), "running"));
    float milliseconds = 0;
    api.cuEventElapsedTime(&milliseconds, begin, end);
    if (i >= kWarmUp) times.push_back(milliseconds);
  }
  api.cuEventDestroy(begin);
  api.cuEventDestroy(end);
  api.cuGraphExecDestroy(replay);
  api.cuGraphDestroy(graph);
  std::nth_element(times.begin(), times.begin() + kReplays / 2, times.end());
  return 1e3 * static_cast<double>(times[kReplays / 2]) / launches;
}

}  // namespace tenon::bench
