// Engine files altered on purpose, with checksums that are right again.
#pragma once

#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>

#include "engine/format.h"
#include "engine/reader.h"
#include "engine/tables.h"
#include "runtime/context.h"

namespace tenon::test {

inline std::shared_ptr<std::byte> aligned_copy(std::string_view bytes) {
  void* memory = std::aligned_alloc(64, (bytes.size() + 64) / 64 * 64);
  std::memcpy(memory, bytes.data(), bytes.size());
  return {static_cast<std::byte*>(memory), std::free};
}

inline std::span<const std::byte> as_bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

inline std::string forge_header(std::string bytes, const std::function<void(engine::Header&)>& forge) {
  engine::Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  forge(header);
  header.checksum = engine::header_checksum(header);
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

// Checksums of the sections that lie in the file, and the header's own.
inline std::string repair_checksums(const std::string& bytes) {
  return forge_header(bytes, [&](engine::Header& header) {
    for (engine::Section& s : header.sections) {
      if (s.offset > bytes.size() || s.size > bytes.size() - s.offset) continue;
      s.checksum = engine::section_checksum(as_bytes(bytes).subspan(s.offset, s.size), nullptr);
    }
  });
}

// The file with its plans changed. The other sections keep their contents.
inline std::string forge_plans(const std::string& bytes, const std::function<void(std::vector<engine::Plan>&)>& forge) {
  engine::Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  const auto section = [&](size_t i) { return bytes.substr(header.sections[i].offset, header.sections[i].size); };
  std::vector<engine::Plan> plans;
  engine::Metadata metadata;
  throw_if_error(engine::decode_tables(as_bytes(section(0)), plans, metadata));
  forge(plans);
  const auto tables = engine::encode_tables(plans, metadata);
  std::string out(sizeof header, '\0');
  for (size_t i = 0; i < engine::kSectionCount; ++i) {
    const std::string content = i == 0 ? std::string(reinterpret_cast<const char*>(tables.data()), tables.size()) : section(i);
    out.resize(engine::align_up(out.size(), i == 3 ? engine::kPageAlignment : engine::kSectionAlignment), '\0');
    header.sections[i].offset = out.size();
    header.sections[i].size = content.size();
    out += content;
  }
  header.file_size = out.size();
  std::memcpy(out.data(), &header, sizeof header);
  return repair_checksums(out);
}

inline std::string forge_plan(const std::string& bytes, const std::function<void(engine::Plan&)>& forge, size_t which = 0) {
  return forge_plans(bytes, [&](std::vector<engine::Plan>& plans) { forge(plans[which]); });
}

// Runs one of the file's plans on small inputs of zeros, if it can be prepared. Crashes are the test.
inline bool run_plan(const std::shared_ptr<const engine::EngineFile>& file, const std::string& target) {
  constexpr size_t kMemory = size_t{64} << 20;
  static const auto pool = std::make_shared<ThreadPool>(1);
  const auto executable = runtime::Executable::prepare(file, pool, target);
  if (!executable.ok()) return false;
  ContextOptions options;
  options.memory_limit = kMemory;
  const auto context = runtime::Context::create(*executable, options);
  if (!context.ok()) return true;
  std::vector<std::vector<int64_t>> data;
  for (const engine::PlanInput& in : (*executable)->plan().inputs) {
    std::vector<int64_t> shape;
    int64_t count = 1;
    for (const ir::Dim& d : in.type.shape) {
      shape.push_back(d.is_const() ? d.value() : 2);
      if (shape.back() < 0 || shape.back() > 4096 || (count *= shape.back()) > (1 << 20)) return true;
    }
    data.emplace_back(static_cast<size_t>(count) + 1, 0);  // eight bytes are enough for any element
    (void)(*context)->inputs().set(in.name, {in.type.dtype, shape, data.back().data()});
  }
  (void)(*context)->run();
  return true;
}

// The same for every plan of the file. True: all could be prepared.
inline bool run_once(const std::string& bytes) {
  auto memory = aligned_copy(bytes);
  const std::span<const std::byte> span(memory.get(), bytes.size());
  const auto file = engine::EngineFile::from_bytes(span, memory, "bytes");
  if (!file.ok()) return false;
  bool all = true;
  for (const engine::Plan& plan : (*file)->plans()) all = run_plan(*file, plan.target) && all;
  return all;
}

}  // namespace tenon::test
