#include "tools/exec_accuracy.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/write_file.h"
#include "tools/exec_report.h"
#include "tools/report.h"

namespace tenon::tools {
namespace {

double distance(double a, double b) {
  if (std::isnan(a) != std::isnan(b)) return std::numeric_limits<double>::infinity();
  return std::isnan(a) || a == b ? 0 : std::abs(a - b);
}

}  // namespace

double accuracy_loss(const ir::Tensor& computed, const ir::Tensor& expected, const std::string& algorithm, double atol,
                     double rtol) {
  double sum = 0, squares = 0, most = 0, product = 0, left = 0, right = 0;
  int64_t outside = 0;
  for (int64_t i = 0; i < computed.numel(); ++i) {
    const double a = computed.at(i), b = expected.at(i), d = distance(a, b);
    outside += !(d <= atol + rtol * std::abs(b));
    sum += d;
    squares += d * d;
    most = std::max(most, d);
    product += a * b;
    left += a * a;
    right += b * b;
  }
  const auto count = static_cast<double>(std::max<int64_t>(1, computed.numel()));
  if (algorithm == "l1") return sum / count;
  if (algorithm == "l2") return std::sqrt(squares / count);
  if (algorithm == "lInf") return most;
  if (algorithm == "cos") return left == 0 && right == 0 ? 0 : 1 - product / std::sqrt(left * right);
  return static_cast<double>(outside) / count;
}

Status check_accuracy(const ExecOptions& o, const NamedTensors& outputs) {
  std::string worst;
  double most = o.accuracy_threshold;
  for (const auto& [name, path] : o.reference_files) {
    const auto output = std::ranges::find(outputs, name, &NamedTensors::value_type::first);
    if (output == outputs.end())
      return error(ErrorCode::kInvalidArgument, "--loadRefOutputs: the model has no output {}", name);
    const ir::Tensor& computed = output->second;
    TENON_ASSIGN(const std::string bytes, read_file(path));
    if (bytes.size() != computed.bytes()) {
      return error(ErrorCode::kBadInput, "{}: {} bytes, but output {} of {} {} has {}", path, bytes.size(), name,
                   join(computed.shape()), dtype_name(computed.dtype()), computed.bytes());
    }
    const ir::Tensor expected(computed.dtype(), computed.shape(), nullptr,
                              reinterpret_cast<const std::byte*>(bytes.data()));
    const double loss = accuracy_loss(computed, expected, o.accuracy_algorithm, o.atol, o.rtol);
    exec_log('I', fmt::format("Accuracy of output {}: {} loss = {:.6g} (threshold {:g})", name, o.accuracy_algorithm,
                              loss, o.accuracy_threshold));
    if (loss <= most) continue;  // a NaN is above every threshold
    if (worst.empty() || loss > most) worst = name;
    if (loss > most) most = loss;
  }
  if (worst.empty()) return {};
  return error(ErrorCode::kBadInput, "output {} is not what --loadRefOutputs says: its {} loss is above {:g}", worst,
               o.accuracy_algorithm, o.accuracy_threshold);
}

}  // namespace tenon::tools
