// Opens engine files, trusting nothing that they say.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "engine/metadata.h"
#include "engine/plan.h"

namespace tenon::engine {

// A checked engine file, mapped into memory. Immutable.
class EngineFile {
 public:
  // `pool` shares the work of checking checksums. Errors: not-found, io, bad-engine (truncated, damaged, foreign),
  // engine-version (made by a newer Tenon); all name the file.
  static Result<std::shared_ptr<const EngineFile>> open(const std::string& path, ThreadPool* pool = nullptr);
  // The same for bytes in memory, which must start at a multiple of 64 and which `owner` keeps alive.
  static Result<std::shared_ptr<const EngineFile>> from_bytes(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                                              const std::string& name, ThreadPool* pool = nullptr);

  const std::string& name() const { return name_; }
  uint64_t file_bytes() const { return bytes_.size(); }
  // At least one, for a target each. They share the weights' section.
  std::span<const Plan> plans() const { return plans_; }
  const Plan& plan(int index = 0) const { return plans_[static_cast<size_t>(index)]; }
  const PlanFacts& facts(int index = 0) const { return facts_[static_cast<size_t>(index)]; }
  // Without the texts and the tokenizer, which stay in the file until they are asked for.
  const Metadata& metadata() const { return metadata_; }
  std::string_view tokenizer() const { return tokenizer_; }
  // Everything; Metadata::plans has an entry for every plan. Errors: bad-engine.
  Result<Metadata> read_texts() const;
  // The bytes of a weight of one of the plans.
  const std::byte* weight(const PlanWeight& weight) const { return weights_.data() + weight.offset; }
  uint64_t weight_bytes() const { return weights_.size(); }

 private:
  EngineFile() = default;
  Status read(ThreadPool* pool);

  std::string name_;
  std::shared_ptr<const void> owner_;
  std::span<const std::byte> bytes_, texts_, weights_;
  std::string_view tokenizer_;
  std::vector<Plan> plans_;
  std::vector<PlanFacts> facts_;
  Metadata metadata_;
};

}  // namespace tenon::engine
