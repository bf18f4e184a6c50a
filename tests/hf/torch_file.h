// Writes what torch.save writes, right or wrong on purpose: pickles opcode by opcode, and zip archives of stored
// entries.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tenon::test {

inline std::string little_endian(uint64_t value, int size) {
  std::string bytes;
  for (int i = 0; i < size; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

// Pieces of pickle, protocol 2.
namespace pickle {

inline std::string text(const std::string& s) { return "X" + little_endian(s.size(), 4) + s; }
inline std::string integer(int64_t v) { return "\x8a\x08" + little_endian(static_cast<uint64_t>(v), 8); }
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string tuple(const std::vector<std::string>& items) {
  std::string s = "(";
  for (const std::string& i : items) s += i;
  return s + "t";
}
inline std::string integers(const std::vector<int64_t>& values) {
  std::vector<std::string> items;
  for (int64_t v : values) items.push_back(integer(v));
  return tuple(items);
}
inline std::string call(const std::string& function, const std::string& arguments) {
  return function + arguments + "R";
}
inline std::string ordered_dict() { return call(global("collections", "OrderedDict"), ")"); }

struct View {
  std::string type = "FloatStorage", key = "0";
  int64_t storage_numel = 6, offset = 0;
  std::vector<int64_t> shape = {2, 3}, strides = {3, 1};
};
inline std::string storage(const View& v) {
  return tuple({text("storage"), global("torch", v.type), text(v.key), text("cpu"), integer(v.storage_numel)}) + "Q";
}
inline std::string tensor(const View& v) {
  return call(global("torch._utils", "_rebuild_tensor_v2"),
              tuple({storage(v), integer(v.offset), integers(v.shape), integers(v.strides), "\x89", ordered_dict()}));
}
inline std::string file(const std::string& body) { return "\x80\x02" + body + "."; }
inline std::string state_dict(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string items;
  for (const auto& [name, value] : entries) items += text(name) + value;
  return file(ordered_dict() + "(" + items + "u");
}

}  // namespace pickle

struct ZipEntry {
  std::string name, data;
  int method = 0, flags = 0;
  uint32_t crc_change = 0;    // added to the right checksum
  int64_t offset_change = 0;  // added to the right place
  int64_t size_change = 0;    // added to the right size, in the directory
};

inline std::string zip(const std::vector<ZipEntry>& entries) {
  std::string file, directory;
  for (const ZipEntry& e : entries) {
    const auto crc = static_cast<uint32_t>(
                         crc32(0, reinterpret_cast<const Bytef*>(e.data.data()), static_cast<uInt>(e.data.size()))) +
                     e.crc_change;
    const uint64_t size = e.data.size() + static_cast<uint64_t>(e.size_change),
                   offset = file.size() + static_cast<uint64_t>(e.offset_change);
    const std::string common = little_endian(static_cast<uint64_t>(e.flags), 2) +
                               little_endian(static_cast<uint64_t>(e.method), 2) + little_endian(0, 4) +
                               little_endian(crc, 4) + little_endian(size, 4) + little_endian(size, 4) +
                               little_endian(e.name.size(), 2) + little_endian(0, 2);
    directory += "PK\1\2" + little_endian(20, 2) + little_endian(20, 2) + common + little_endian(0, 2) +
                 little_endian(0, 2) + little_endian(0, 2) + little_endian(0, 4) + little_endian(offset, 4) + e.name;
    file += "PK\3\4" + little_endian(20, 2) + common + e.name + e.data;
  }
  return file + directory + "PK\5\6" + little_endian(0, 4) + little_endian(entries.size(), 2) +
         little_endian(entries.size(), 2) + little_endian(directory.size(), 4) + little_endian(file.size(), 4) +
         little_endian(0, 2);
}

// An archive with this pickle and one storage of the floats 0 … 5.
inline std::string torch_file(const std::string& pickle_bytes) {
  std::string data;
  for (uint32_t bits : {0x00000000u, 0x3f800000u, 0x40000000u, 0x40400000u, 0x40800000u, 0x40a00000u})
    data += little_endian(bits, 4);
  return zip({{"archive/data.pkl", pickle_bytes}, {"archive/byteorder", "little"}, {"archive/data/0", data}});
}

}  // namespace tenon::test
