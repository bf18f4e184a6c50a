#include "hf/zip.h"

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tenon::hf {
namespace {

using Bytes = std::span<const std::byte>;

constexpr uint32_t kEndSignature = 0x06054b50, kEnd64Signature = 0x06064b50, kLocator64Signature = 0x07064b50;
constexpr uint32_t kEntrySignature = 0x02014b50, kLocalSignature = 0x04034b50;
constexpr size_t kEndBytes = 22, kEnd64Bytes = 56, kLocator64Bytes = 20, kEntryBytes = 46, kLocalBytes = 30;
constexpr uint64_t kIn64 = 0xffffffff;  // a 32-bit field whose value stands in the zip64 field
constexpr uint16_t kExtra64 = 1;

Status damaged(const char* what) { return error(ErrorCode::kBadModel, "damaged zip archive: {}", what); }

// A little-endian integer; the caller has checked that it is there.
uint64_t read_uint(Bytes bytes, size_t at, size_t size) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) value |= std::to_integer<uint64_t>(bytes[at + i]) << (8 * i);
  return value;
}

// bytes[offset, offset + size) when all of it exists.
std::optional<Bytes> part(Bytes bytes, uint64_t offset, uint64_t size) {
  if (offset > bytes.size() || size > bytes.size() - offset) return std::nullopt;
  return bytes.subspan(static_cast<size_t>(offset), static_cast<size_t>(size));
}

struct Directory {
  uint64_t entries = 0, size = 0, offset = 0;
};

Result<Directory> find_directory(Bytes file) {
  constexpr size_t kMaxComment = 0xffff;
  if (file.size() < kEndBytes) return damaged("too short");
  const size_t last = file.size() - kEndBytes;
  const size_t first = last > kMaxComment ? last - kMaxComment : 0;
  for (size_t at = last + 1; at-- > first;) {
    if (read_uint(file, at, 4) != kEndSignature || at + kEndBytes + read_uint(file, at + 20, 2) != file.size())
      continue;
    Directory d{read_uint(file, at + 10, 2), read_uint(file, at + 12, 4), read_uint(file, at + 16, 4)};
    if (d.entries != 0xffff && d.size != kIn64 && d.offset != kIn64) return d;
    if (at < kLocator64Bytes || read_uint(file, at - kLocator64Bytes, 4) != kLocator64Signature) return d;
    const auto end64 = part(file, read_uint(file, at - kLocator64Bytes + 8, 8), kEnd64Bytes);
    if (!end64 || read_uint(*end64, 0, 4) != kEnd64Signature) return damaged("its zip64 end record is missing");
    return Directory{read_uint(*end64, 32, 8), read_uint(*end64, 40, 8), read_uint(*end64, 48, 8)};
  }
  return damaged("no directory at its end (cut off?)");
}

struct Entry {
  std::string name;
  uint64_t flags = 0, method = 0, crc = 0, stored = 0, size = 0, offset = 0;
  size_t directory_bytes = 0;
};

// Sizes of 4 GiB and more stand in the entry's zip64 field, in this order, those that are needed only.
Status read_extra64(Bytes extra, Entry& entry) {
  while (extra.size() >= 4) {
    const uint64_t id = read_uint(extra, 0, 2);
    const auto field = part(extra, 4, read_uint(extra, 2, 2));
    if (!field) return damaged("an extra field is cut off");
    if (id == kExtra64) {
      size_t at = 0;
      for (uint64_t* value : {&entry.size, &entry.stored, &entry.offset}) {
        if (*value != kIn64) continue;
        if (field->size() < at + 8) return damaged("a zip64 field is cut off");
        *value = read_uint(*field, at, 8);
        at += 8;
      }
      return {};
    }
    extra = extra.subspan(4 + field->size());
  }
  return {};
}

Result<Entry> read_entry(Bytes directory) {
  if (directory.size() < kEntryBytes || read_uint(directory, 0, 4) != kEntrySignature)
    return damaged("a directory entry is missing");
  const size_t name = read_uint(directory, 28, 2), extra = read_uint(directory, 30, 2),
               comment = read_uint(directory, 32, 2);
  Entry entry;
  entry.directory_bytes = kEntryBytes + name + extra + comment;
  if (directory.size() < entry.directory_bytes) return damaged("a directory entry is cut off");
  entry.name.assign(reinterpret_cast<const char*>(directory.data()) + kEntryBytes, name);
  entry.flags = read_uint(directory, 8, 2);
  entry.method = read_uint(directory, 10, 2);
  entry.crc = read_uint(directory, 16, 4);
  entry.stored = read_uint(directory, 20, 4);
  entry.size = read_uint(directory, 24, 4);
  entry.offset = read_uint(directory, 42, 4);
  TENON_TRY(read_extra64(directory.subspan(kEntryBytes + name, extra), entry));
  return entry;
}

uint32_t crc_of(Bytes bytes) {
  constexpr size_t kChunk = size_t{1} << 30;  // zlib counts in 32 bits
  uLong crc = crc32(0, nullptr, 0);
  for (size_t at = 0; at < bytes.size(); at += kChunk) {
    const size_t n = std::min(kChunk, bytes.size() - at);
    crc = crc32(crc, reinterpret_cast<const Bytef*>(bytes.data()) + at, static_cast<uInt>(n));
  }
  return static_cast<uint32_t>(crc);
}

Result<Bytes> contents(Bytes file, const Entry& entry) {
  if ((entry.flags & 1) != 0) return error(ErrorCode::kUnsupported, "entry '{}' is encrypted", entry.name);
  if (entry.method != 0 || entry.stored != entry.size) {
    return error(ErrorCode::kUnsupported, "entry '{}' is compressed; torch.save stores entries as they are",
                 entry.name);
  }
  const auto local = part(file, entry.offset, kLocalBytes);
  if (!local || read_uint(*local, 0, 4) != kLocalSignature)
    return error(ErrorCode::kBadModel, "entry '{}' is missing", entry.name);
  const auto data =
      part(file, entry.offset + kLocalBytes + read_uint(*local, 26, 2) + read_uint(*local, 28, 2), entry.size);
  if (!data) return error(ErrorCode::kBadModel, "entry '{}' is cut off", entry.name);
  return *data;
}

}  // namespace

Result<std::map<std::string, Bytes>> read_zip(Bytes file) {
  TENON_ASSIGN(const Directory where, find_directory(file));
  auto directory = part(file, where.offset, where.size);
  if (!directory || where.entries > where.size / kEntryBytes) return damaged("its directory lies outside the file");
  std::map<std::string, Bytes> entries;
  uint64_t total = 0;
  for (uint64_t i = 0; i < where.entries; ++i) {
    TENON_ASSIGN(Entry entry, read_entry(*directory));
    directory = directory->subspan(entry.directory_bytes);
    TENON_ASSIGN(const Bytes data, contents(file, entry));
    total +=
        data.size();  // before the checksum, so that overlapping entries cannot cost more than one pass over the file
    if (total > file.size()) return damaged("entries overlap");
    if (crc_of(data) != entry.crc) return error(ErrorCode::kBadModel, "entry '{}' is damaged (wrong CRC)", entry.name);
    if (!entries.emplace(entry.name, data).second)
      return error(ErrorCode::kBadModel, "entry '{}' is given twice", entry.name);
  }
  return entries;
}

}  // namespace tenon::hf
