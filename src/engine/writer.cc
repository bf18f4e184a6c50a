#include "engine/writer.h"

#include <algorithm>
#include <cstdio>
#include <future>
#include <utility>

#include "base/write_file.h"
#include "engine/format.h"
#include "engine/tables.h"

namespace tenon::engine {
namespace {

// Appends one section to the file while its checksum is taken.
class SectionWriter {
 public:
  SectionWriter(TemporaryFile& file, SectionKind kind, uint64_t offset) : file_(file), section_{static_cast<uint32_t>(kind), 0, offset, 0, 0} {}

  Status append(std::span<const std::byte> bytes) {
    const auto write = [&] { return file_.write_at(section_.offset + section_.size, bytes); };
    // Large pieces are copied to the file while the checksum reads them.
    std::future<Status> written = std::async(bytes.size() < kChunkBytes ? std::launch::deferred : std::launch::async, write);
    hasher_.update(bytes);
    TENON_TRY(written.get());
    section_.size += bytes.size();
    return {};
  }
  Status pad_to(uint64_t size) {
    static constexpr std::byte kZeros[kWeightAlignment] = {};
    while (section_.size < size) TENON_TRY(append(std::span(kZeros).first(std::min<uint64_t>(size - section_.size, sizeof kZeros))));
    return {};
  }
  Section finish() {
    section_.checksum = hasher_.finish();
    return section_;
  }

 private:
  TemporaryFile& file_;
  Section section_;
  SectionHasher hasher_;
};

Status append_weights(SectionWriter& section, std::span<const Plan> plans, const WeightSource& source) {
  for (const StoredWeight& stored : stored_weights(plans)) {
    const PlanWeight& w = plans[static_cast<size_t>(stored.plan)].weights[static_cast<size_t>(stored.index)];
    auto made = source(stored);
    if (!made.ok()) return made.status().with_context("weight " + w.name);
    const ir::Tensor& tensor = made.value();
    const TensorType type{tensor.dtype(), ir::to_shape(tensor.shape())};
    if (!(type == w.type) || !tensor.has_data()) {
      return error(ErrorCode::kInternal, "weight {} came as {}, planned as {}", w.name, type.to_string(), w.type.to_string());
    }
    TENON_TRY(section.pad_to(w.offset));
    TENON_TRY(section.append({tensor.data(), tensor.bytes()}));
  }
  return {};
}

std::span<const std::byte> bytes_of(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

}  // namespace

void place_weights(Plan& plan) {
  uint64_t offset = 0;
  for (PlanWeight& w : plan.weights) {
    int64_t numel = 1;
    for (const Dim& d : w.type.shape) numel *= d.value();
    w.bytes = static_cast<uint64_t>(numel) * dtype_size(w.type.dtype);
    w.offset = align_up(offset, kWeightAlignment);
    offset = w.offset + w.bytes;
  }
}

std::vector<StoredWeight> stored_weights(std::span<const Plan> plans) {
  std::vector<StoredWeight> stored;
  uint64_t end = 0;
  for (size_t p = 0; p < plans.size(); ++p) {
    for (size_t i = 0; i < plans[p].weights.size(); ++i) {
      const PlanWeight& w = plans[p].weights[i];
      if (w.offset < end) continue;
      stored.push_back({static_cast<int>(p), static_cast<int>(i)});
      end = w.offset + w.bytes;
    }
  }
  return stored;
}

Result<WriteResult> write_engine(const std::string& path, const Plan& plan, const Metadata& metadata,
                                 const std::function<Result<ir::Tensor>(int index)>& source) {
  return write_engine(path, {&plan, 1}, metadata, [&](StoredWeight weight) { return source(weight.index); });
}

Result<WriteResult> write_engine(const std::string& path, std::span<const Plan> plans, const Metadata& metadata, const WeightSource& source) {
  TemporaryFile file(path);
  TENON_TRY(file.open());
  Header header;
  uint64_t end = sizeof(Header);
  const auto write_section = [&](size_t index, SectionKind kind, std::span<const std::byte> bytes) -> Status {
    SectionWriter section(file, kind, align_up(end, kSectionAlignment));
    TENON_TRY(section.append(bytes));
    header.sections[index] = section.finish();
    end = header.sections[index].offset + bytes.size();
    return {};
  };
  TENON_TRY(write_section(0, SectionKind::kTables, encode_tables(plans, metadata)));
  TENON_TRY(write_section(1, SectionKind::kTexts, encode_texts(metadata)));
  TENON_TRY(write_section(2, SectionKind::kTokenizer, bytes_of(metadata.tokenizer)));
  SectionWriter weights(file, SectionKind::kWeights, align_up(end, kPageAlignment));
  TENON_TRY(append_weights(weights, plans, source));
  header.sections[3] = weights.finish();
  header.file_size = header.sections[3].offset + header.sections[3].size;
  TENON_TRY(file.resize(header.file_size));
  header.checksum = header_checksum(header);
  TENON_TRY(file.write_at(0, std::as_bytes(std::span(&header, 1))));
  TENON_TRY(file.commit());
  return WriteResult{header.file_size, header.sections[3].size};
}

}  // namespace tenon::engine
