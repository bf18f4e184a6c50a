// conv by NVIDIA's cuDNN, as configs of conv_sm90_kernel that builds with --tactics cudnn may choose where they were timed
// faster. Only what its fused form means exactly and reads as it is packed: bias, ReLU or nothing, no residual (which may lie
// where y does), padding alike on both sides, channels that are packed without gaps.
#include <map>
#include <memory>
#include <tuple>

#include "kernels/cuda/conv.h"
#include "kernels/cuda/cudnn.h"

namespace tenon::kernels::cuda {
namespace {

using tenon::cuda::Cudnn, tenon::cuda::CudnnAlgorithm, tenon::cuda::CudnnDevice, tenon::cuda::CudnnObject;

// cudnn_graph.h, cudnn_ops.h: cudnnDataType_t, cudnnTensorFormat_t, cudnnMathType_t, cudnnConvolutionMode_t,
// cudnnActivationMode_t, cudnnNanPropagation_t, cudnnConvolutionFwdAlgo_t.
enum { kCudnnFloat = 0, kCudnnHalf = 2, kCudnnBFloat16 = 9 };
constexpr int kChannelsLast = 1, kTensorCores = 1, kCrossCorrelation = 1, kPropagateNan = 1, kPrecomputedIndices = 1;
enum { kCudnnRelu = 1, kCudnnIdentity = 5 };
constexpr size_t kMostCudnnWorkspace = size_t{64} << 20;

struct CudnnChoice {
  const char* text;
  int rank;  // of the library's suggestions
};
constexpr CudnnChoice kCudnnChoices[] = {{"cudnn", 0}, {"cudnn,rank=1", 1}};

Status check_cudnn(int result, const char* what) {
  return result == 0 ? Status() : error(ErrorCode::kUnsupported, "cuDNN: {}: status {}", what, result);
}

using DestroyCudnn = int (*)(CudnnObject);
using CudnnOwned = std::unique_ptr<void, DestroyCudnn>;

// The descriptions of one convolution.
struct CudnnConv {
  CudnnOwned x, w, conv, bias, activation, y;
};

class CudnnLauncher final : public Launcher {
 public:
  CudnnLauncher(const Cudnn& api, CudnnDevice& device, const Problem& problem, const CudnnChoice& choice)
      : api_(api),
        device_(device),
        choice_(choice),
        window_(*Window2d::of(problem)),
        channels_(problem.inputs[kConvW].shape[1].value()),
        activation_(problem.attrs.text("activation").empty() ? kCudnnIdentity : kCudnnRelu),
        type_(problem.inputs[kConvX].dtype == DType::kF16 ? kCudnnHalf : kCudnnBFloat16) {}

  size_t workspace(const RunArgs& args, int) const override {
    const Images in = Images::of(args.input(kConvX)), out = Images::of(args.output());
    if (out.pixels() == 0) return 0;
    const std::lock_guard lock(device_.mutex);
    const auto made = describe(in, out);
    if (!made.ok()) return 0;  // launch says why
    const auto found = algorithm(*made, in);
    return found.ok() ? found->workspace : 0;
  }

  Status launch(const RunArgs& args) const override {
    const Images in = Images::of(args.input(kConvX)), out = Images::of(args.output());
    if (in.channels != channels_)
      return error(ErrorCode::kBadInput, "images of {} channels do not fit weights of {}", in.channels, channels_);
    if (out.pixels() == 0) return {};
    const std::lock_guard lock(device_.mutex);
    TENON_TRY(check_cudnn(api_.cudnnSetStream(device_.handle, static_cast<Stream>(args.stream)), "a stream"));
    TENON_ASSIGN(const CudnnConv made, describe(in, out));
    TENON_ASSIGN(const CudnnAlgorithm found, algorithm(made, in));
    const float one = 1, zero = 0;
    void* y = args.output().data;
    return check_cudnn(api_.cudnnConvolutionBiasActivationForward(
                           device_.handle, &one, made.x.get(), args.input(kConvX).data, made.w.get(), args.input(kConvW).data, made.conv.get(),
                           found.algorithm, args.workspace, found.workspace, &zero, made.y.get(), y, made.bias.get(), args.input(kConvBias).data,
                           made.activation.get(), made.y.get(), y),
                       "a convolution");
  }

 private:
  template <class Create>
  static Result<CudnnOwned> own(Create create, DestroyCudnn destroy) {
    CudnnObject made = nullptr;
    TENON_TRY(check_cudnn(create(&made), "a description"));
    return CudnnOwned(made, destroy);
  }
  Result<CudnnOwned> tensor(int64_t count, int64_t channels, int64_t height, int64_t width) const {
    TENON_ASSIGN(CudnnOwned made, own(api_.cudnnCreateTensorDescriptor, api_.cudnnDestroyTensorDescriptor));
    TENON_TRY(check_cudnn(api_.cudnnSetTensor4dDescriptor(made.get(), kChannelsLast, type_, static_cast<int>(count), static_cast<int>(channels),
                                                          static_cast<int>(height), static_cast<int>(width)),
                          "a tensor"));
    return made;
  }

  Result<CudnnConv> describe(const Images& in, const Images& out) const {
    TENON_ASSIGN(CudnnOwned x, tensor(in.count, in.channels, in.height, in.width));
    TENON_ASSIGN(CudnnOwned y, tensor(out.count, out.channels, out.height, out.width));
    TENON_ASSIGN(CudnnOwned bias, tensor(1, out.channels, 1, 1));
    TENON_ASSIGN(CudnnOwned w, own(api_.cudnnCreateFilterDescriptor, api_.cudnnDestroyFilterDescriptor));
    TENON_TRY(check_cudnn(api_.cudnnSetFilter4dDescriptor(w.get(), type_, kChannelsLast, static_cast<int>(out.channels), static_cast<int>(channels_),
                                                          static_cast<int>(window_.kernel.h), static_cast<int>(window_.kernel.w)),
                          "filters"));
    TENON_ASSIGN(CudnnOwned conv, own(api_.cudnnCreateConvolutionDescriptor, api_.cudnnDestroyConvolutionDescriptor));
    const auto number = [](int64_t n) { return static_cast<int>(n); };
    TENON_TRY(check_cudnn(api_.cudnnSetConvolution2dDescriptor(conv.get(), number(window_.before.h), number(window_.before.w), number(window_.step.h),
                                                               number(window_.step.w), number(window_.dilation.h), number(window_.dilation.w),
                                                               kCrossCorrelation, kCudnnFloat),
                          "windows"));
    TENON_TRY(check_cudnn(api_.cudnnSetConvolutionMathType(conv.get(), kTensorCores), "a kind of arithmetic"));
    TENON_ASSIGN(CudnnOwned activation, own(api_.cudnnCreateActivationDescriptor, api_.cudnnDestroyActivationDescriptor));
    TENON_TRY(check_cudnn(api_.cudnnSetActivationDescriptor(activation.get(), activation_, kPropagateNan, 0), "an activation"));
    return CudnnConv{std::move(x), std::move(w), std::move(conv), std::move(bias), std::move(activation), std::move(y)};
  }

  // For such images; asked once for each size. The last suggestion where there are fewer. Requires the device's mutex.
  Result<CudnnAlgorithm> algorithm(const CudnnConv& made, const Images& in) const {
    const auto key = std::tuple(in.count, in.height, in.width);
    if (const auto it = known_.find(key); it != known_.end()) return it->second;
    CudnnAlgorithm found[8] = {};
    int count = 0;
    TENON_TRY(check_cudnn(api_.cudnnGetConvolutionForwardAlgorithm_v7(device_.handle, made.x.get(), made.w.get(), made.conv.get(), made.y.get(), 8,
                                                                      &count, found),
                          "looking for an algorithm"));
    const CudnnAlgorithm* best = nullptr;
    int rank = 0;
    for (int i = 0; i < count && rank <= choice_.rank; ++i) {
      // Without an activation it has but one algorithm that adds a bias.
      const bool fits = activation_ == kCudnnRelu || found[i].algorithm == kPrecomputedIndices;
      if (found[i].status != 0 || found[i].workspace > kMostCudnnWorkspace || found[i].deterministic == 0 || !fits) continue;
      best = &found[i];
      ++rank;
    }
    if (best == nullptr) return error(ErrorCode::kUnsupported, "cuDNN has no algorithm for this convolution of {} images", in.count);
    return known_[key] = *best;
  }

  const Cudnn& api_;
  CudnnDevice& device_;
  CudnnChoice choice_;
  Window2d window_;
  int64_t channels_;
  int activation_, type_;
  mutable std::map<std::tuple<int64_t, int64_t, int64_t>, CudnnAlgorithm> known_;  // by images, height and width
};

const CudnnChoice* find_cudnn_choice(std::string_view text) {
  for (const CudnnChoice& choice : kCudnnChoices)
    if (choice.text == text) return &choice;
  return nullptr;
}

bool cudnn_computes(const Problem& problem, int64_t packed_channels) {
  const Window2d window = *Window2d::of(problem);
  const std::string& activation = problem.attrs.text("activation");
  return problem.has(kConvBias) && !problem.has(kConvResidual) && (activation.empty() || activation == "relu") &&
         window.before.h == window.after.h && window.before.w == window.after.w && packed_channels == problem.inputs[kConvW].shape[1].value();
}

}  // namespace

std::vector<Config> cudnn_configs(const Problem& problem, int64_t packed_channels) {
  std::vector<Config> configs;
  if (!cudnn_computes(problem, packed_channels)) return configs;
  for (const CudnnChoice& choice : kCudnnChoices) configs.push_back({.text = choice.text, .numerics = choice.text});
  return configs;
}

bool is_cudnn(const Config& config) { return find_cudnn_choice(config.text) != nullptr; }

Result<std::unique_ptr<Launcher>> load_cudnn_conv(const Problem& problem, const Config& config, const Device& device) {
  const CudnnChoice* choice = find_cudnn_choice(config.text);
  if (choice == nullptr || !problem.has(kConvBias) || problem.has(kConvResidual))
    return error(ErrorCode::kInternal, "cuDNN has no config '{}' of this convolution", config.text);
  TENON_ASSIGN(const Cudnn* api, tenon::cuda::cudnn());
  TENON_ASSIGN(CudnnDevice * handle, tenon::cuda::cudnn_device(device));
  return std::unique_ptr<Launcher>(std::make_unique<CudnnLauncher>(*api, *handle, problem, *choice));
}

}  // namespace tenon::kernels::cuda
