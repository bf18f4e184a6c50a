#include "engine/reader.h"

#include <algorithm>
#include <cstring>

#include "engine/format.h"
#include "engine/tables.h"

namespace tenon::engine {
namespace {

template <class... Args>
Status refused(fmt::format_string<Args...> format, Args&&... args) {
  return Status(ErrorCode::kBadEngine, fmt::format(format, std::forward<Args>(args)...));
}

const char* section_name(SectionKind kind) {
  switch (kind) {
    case SectionKind::kTables: return "tables";
    case SectionKind::kTexts: return "texts";
    case SectionKind::kTokenizer: return "tokenizer";
    case SectionKind::kWeights: return "weights";
  }
  return "unknown";
}

Result<Header> read_header(std::span<const std::byte> bytes) {
  if (bytes.size() < kMagic.size() || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) return refused("not an engine file");
  Header header;
  if (bytes.size() < sizeof header) return refused("the file is truncated: {} bytes", bytes.size());
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.checksum != header_checksum(header)) return refused("the file's header is damaged");
  if (header.major != kFormatMajor || header.minor > kFormatMinor) {
    return error(ErrorCode::kEngineVersion, "the engine has format version {}.{}, this Tenon reads {}.{}: build it again", header.major,
                 header.minor, kFormatMajor, kFormatMinor);
  }
  if (header.flags != 0 || header.section_count != kSectionCount) {
    return error(ErrorCode::kEngineVersion, "the engine needs features that this Tenon does not have");
  }
  if (header.file_size > bytes.size()) return refused("the file is truncated: {} of {} bytes", bytes.size(), header.file_size);
  if (header.file_size < bytes.size()) return refused("the file has {} bytes too many", bytes.size() - header.file_size);
  return header;
}

Result<std::span<const std::byte>> read_section(std::span<const std::byte> bytes, const Header& header, SectionKind kind, ThreadPool* pool) {
  const Section& s = header.sections[static_cast<size_t>(kind) - 1];
  const char* name = section_name(kind);
  const uint64_t alignment = kind == SectionKind::kWeights ? kPageAlignment : kSectionAlignment;
  if (s.kind != static_cast<uint32_t>(kind) || s.offset % alignment != 0 || s.offset < sizeof(Header)) return refused("the section of {} is out of place", name);
  if (s.offset > bytes.size() || s.size > bytes.size() - s.offset) return refused("the section of {} lies outside of the file", name);
  const auto section = bytes.subspan(s.offset, s.size);
  if (section_checksum(section, pool) != s.checksum) return refused("the section of {} is damaged (checksum)", name);
  return section;
}

// Bytes between sections, which no checksum covers, are zeros.
Status check_gaps(std::span<const std::byte> bytes, const Header& header) {
  uint64_t at = sizeof(Header);
  for (const Section& s : header.sections) {
    if (s.offset < at || s.offset > bytes.size()) return refused("the sections overlap");
    const auto gap = bytes.subspan(at, s.offset - at);
    if (gap.size() >= kPageAlignment || std::ranges::any_of(gap, [](std::byte b) { return b != std::byte{0}; })) {
      return refused("there are foreign bytes before the section of {}", section_name(static_cast<SectionKind>(s.kind)));
    }
    at = s.offset + s.size;
  }
  return at == bytes.size() ? Status() : refused("there are foreign bytes after the sections");
}

}  // namespace

Result<std::shared_ptr<const EngineFile>> EngineFile::open(const std::string& path, ThreadPool* pool) {
  TENON_ASSIGN(auto file, MappedFile::open(path));
  const auto bytes = file->bytes();
  return from_bytes(bytes, std::move(file), path, pool);
}

Result<std::shared_ptr<const EngineFile>> EngineFile::from_bytes(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                                                 const std::string& name, ThreadPool* pool) {
  std::shared_ptr<EngineFile> file(new EngineFile);
  file->name_ = name;
  file->owner_ = std::move(owner);
  file->bytes_ = bytes;
  if (Status s = file->read(pool); !s.ok()) return s.with_context(name);
  return std::shared_ptr<const EngineFile>(std::move(file));
}

Status EngineFile::read(ThreadPool* pool) {
  if (reinterpret_cast<uintptr_t>(bytes_.data()) % kWeightAlignment != 0) return error(ErrorCode::kInternal, "the engine is not aligned in memory");
  TENON_ASSIGN(const Header header, read_header(bytes_));
  TENON_ASSIGN(const auto tables, read_section(bytes_, header, SectionKind::kTables, pool));
  TENON_ASSIGN(texts_, read_section(bytes_, header, SectionKind::kTexts, pool));
  TENON_ASSIGN(const auto tokenizer, read_section(bytes_, header, SectionKind::kTokenizer, pool));
  TENON_ASSIGN(weights_, read_section(bytes_, header, SectionKind::kWeights, pool));
  TENON_TRY(check_gaps(bytes_, header));
  tokenizer_ = {reinterpret_cast<const char*>(tokenizer.data()), tokenizer.size()};
  TENON_TRY(decode_tables(tables, plans_, metadata_));
  for (Plan& plan : plans_) {
    TENON_ASSIGN(PlanFacts facts, check_plan(plan, weights_.size()));
    facts_.push_back(std::move(facts));
    compute_live_ranges(plan);
  }
  return {};
}

Result<Metadata> EngineFile::read_texts() const {
  Metadata all = metadata_;
  if (Status s = decode_texts(texts_, all); !s.ok()) return s.with_context(name_);
  all.plans.resize(plans_.size());
  all.tokenizer = tokenizer_;
  return all;
}

}  // namespace tenon::engine
