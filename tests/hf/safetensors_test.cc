// The safetensors reader: what it reads, and a clear refusal of everything else.
#include "hf/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/golden.h"
#include "tests/support/random.h"

namespace tenon::hf {
namespace {

using testing::HasSubstr;

std::string little_endian(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

std::string safetensors(const std::string& header, const std::string& data) { return little_endian(header.size()) + header + data; }

// Bytes at an address that is `shift` above a multiple of 64, in a block of exactly their size.
Result<TensorMap> parse(const std::string& bytes, size_t shift = 0) {
  std::byte* memory = nullptr;
  const ir::Tensor block = *ir::Tensor::allocate(DType::kU8, {static_cast<int64_t>(bytes.size() + shift)}, &memory);
  std::memcpy(memory + shift, bytes.data(), bytes.size());
  auto owner = std::make_shared<ir::Tensor>(block);
  return parse_safetensors({memory + shift, bytes.size()}, owner, "m.safetensors");
}

TEST(Safetensors, ReadsWhatTheReferenceReaderReads) {
  const std::string path = test::golden_folder() + "checkpoints/bert-encoder/model.safetensors";
  const auto tensors = read_safetensors(path);
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  const auto expected = test::read_safetensors(path);
  ASSERT_EQ(tensors->size(), expected.size());
  for (const auto& [name, tensor] : *tensors) EXPECT_TRUE(tensor.same_bytes(expected.at(name))) << name;
}

TEST(Safetensors, ReadsEveryDType) {
  const std::vector<std::pair<std::string, DType>> types = {
      {"F64", DType::kF64}, {"I64", DType::kI64}, {"U64", DType::kU64}, {"F32", DType::kF32}, {"I32", DType::kI32},
      {"U32", DType::kU32}, {"F16", DType::kF16}, {"BF16", DType::kBF16}, {"I16", DType::kI16}, {"U16", DType::kU16},
      {"I8", DType::kI8},   {"U8", DType::kU8},   {"BOOL", DType::kBool}};
  std::string header = "{", data;
  for (const auto& [name, dtype] : types) {
    const size_t begin = data.size();
    data += std::string(dtype_size(dtype) * 2, '\1');
    header += (header.size() > 1 ? ",\"" : "\"") + name + R"(":{"dtype":")" + name + R"(","shape":[2],"data_offsets":[)" + std::to_string(begin) + "," +
              std::to_string(data.size()) + "]}";
  }
  const auto tensors = parse(safetensors(header + "}   ", data));
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  for (const auto& [name, dtype] : types) EXPECT_EQ(tensors->at(name).dtype(), dtype);
}

TEST(Safetensors, AcceptsMetadataScalarsEmptyTensorsAndAnyOrder) {
  const auto tensors = parse(safetensors(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[],"data_offsets":[4,5]},"e":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]},)"
      R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
      "abcde"));
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  EXPECT_EQ(tensors->size(), 3u);
  EXPECT_EQ(tensors->at("b").at(0), 'e');
  EXPECT_EQ(tensors->at("e").numel(), 0);
}

TEST(Safetensors, CopiesOnlyWhatIsNotAligned) {
  const std::string full = safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}      )", std::string("\0\0\x80\x3f\0\0\0\x40", 8));
  for (size_t shift : {0, 1, 2, 3}) {
    const auto tensors = parse(full, shift);
    ASSERT_TRUE(tensors.ok()) << tensors.status().message();
    const ir::Tensor& a = tensors->at("a");
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a.data()) % alignof(float), 0u);
    EXPECT_EQ(a.at(0), 1);
    EXPECT_EQ(a.at(1), 2);
  }
}

struct Hostile {
  const char* name;
  std::string bytes;
  const char* message;
};

std::vector<Hostile> hostile_files() {
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  const auto one = [&](const std::string& dtype, const std::string& shape, const std::string& offsets, const std::string& data = "abcd") {
    return safetensors(entry(dtype, shape, offsets), data);
  };
  const auto two = [](const std::string& first, const std::string& second, const std::string& data) {
    return safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + first + R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}", data);
  };
  const std::string good = entry("\"F32\"", "[1]", "[0,4]");
  return {
      {"Empty", "", "no safetensors file"},
      {"SevenBytes", std::string(7, '\0'), "no safetensors file"},
      {"NoHeader", std::string(8, '\0'), "does not begin with '{'"},
      {"HeaderLongerThanFile", little_endian(100) + "{}", "does not fit"},
      {"HeaderLengthAllOnes", std::string(8, '\xff') + "{}", "does not fit"},
      {"HeaderLengthOverflows", little_endian(UINT64_MAX - 7) + "{}", "does not fit"},
      {"HeaderLengthOneTooLong", little_endian(3) + "{}", "does not fit"},
      {"HeaderBeyondTheLimit", little_endian(uint64_t{17} << 20) + std::string(size_t{18} << 20, ' '), "does not fit"},
      {"ZipInstead", "PK\3\4 and so on, much longer than eight bytes", "does not fit"},
      {"HtmlInstead", safetensors("<html></html>", ""), "does not begin with '{'"},
      {"ListInstead", safetensors("[]", ""), "does not begin with '{'"},
      {"LeadingSpace", safetensors(" {}", ""), "does not begin with '{'"},
      {"CutOffJson", safetensors(good.substr(0, good.size() - 1), "abcd"), "parse error"},
      {"TrailingGarbage", safetensors(good + "x", "abcd"), "parse error"},
      {"NulInHeader", safetensors(good + std::string(1, '\0'), "abcd"), "parse error"},
      {"InvalidUtf8", safetensors("{\"\xff\":{}}", ""), "invalid"},
      {"DeepNesting", safetensors(R"({"a":)" + std::string(100000, '[') + std::string(100000, ']') + "}", ""), "nested"},
      {"DuplicateTensor", safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "abcd"), "given twice"},
      {"DuplicateField", safetensors(R"({"a":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}})", "abcd"), "given twice"},
      {"EntryIsNull", safetensors(R"({"a":null})", ""), "tensor 'a': not an object"},
      {"EntryIsList", safetensors(R"({"a":[]})", ""), "tensor 'a': not an object"},
      {"NoDType", safetensors(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", "abcd"), "\"dtype\" is missing"},
      {"DTypeIsNumber", one("1", "[1]", "[0,4]"), "\"dtype\" is missing or not a string"},
      {"DTypeUnknown", one("\"F8_E4M3\"", "[4]", "[0,4]"), "dtype F8_E4M3 is not supported"},
      {"DTypeEmpty", one("\"\"", "[4]", "[0,4]"), "is not supported"},
      {"NoShape", safetensors(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", "abcd"), "\"shape\" is missing"},
      {"ShapeIsObject", one("\"F32\"", "{}", "[0,4]"), "\"shape\" is missing or not a list"},
      {"NegativeSize", one("\"F32\"", "[-1]", "[0,4]"), "no size"},
      {"FractionalSize", one("\"F32\"", "[1.0]", "[0,4]"), "no size"},
      {"TextSize", one("\"F32\"", "[\"1\"]", "[0,4]"), "no size"},
      {"SizeBeyondInt64", one("\"F32\"", "[9223372036854775808]", "[0,4]"), "no size"},
      {"SizeBeyondUint64", one("\"F32\"", "[99999999999999999999]", "[0,4]"), "no size"},
      {"ProductOverflows", one("\"F32\"", "[4294967296,4294967296]", "[0,4]"), "too large"},
      {"BytesOverflow", one("\"F64\"", "[4611686018427387904]", "[0,4]"), "too large"},
      {"TooManyAxes", one("\"F32\"", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,4]"), "17 axes"},
      {"NoOffsets", safetensors(R"({"a":{"dtype":"F32","shape":[1]}})", "abcd"), "\"data_offsets\" is missing"},
      {"OneOffset", one("\"F32\"", "[1]", "[0]"), "not a pair"},
      {"ThreeOffsets", one("\"F32\"", "[1]", "[0,4,8]"), "not a pair"},
      {"NegativeOffset", one("\"F32\"", "[1]", "[-4,0]"), "not a pair"},
      {"FractionalOffset", one("\"F32\"", "[1]", "[0,4.5]"), "not a pair"},
      {"EndBeforeBegin", one("\"F32\"", "[1]", "[4,0]"), "before it begins"},
      {"TooFewBytes", one("\"F32\"", "[2]", "[0,4]"), "4 bytes of data, but dtype and shape need 8"},
      {"TooManyBytes", one("\"F16\"", "[1]", "[0,4]"), "4 bytes of data, but dtype and shape need 2"},
      {"EndsBeyondFile", one("\"F32\"", "[2]", "[0,8]"), "data ends at 8, the file's data at 4"},
      {"FarBeyondFile", one("\"U8\"", "[4]", "[18446744073709551608,18446744073709551612]"), "the file's data at 4"},
      {"BeginsBeyondFile", one("\"U8\"", "[0]", "[9,9]"), "the file's data at 4"},
      {"DataUnclaimed", safetensors("{}", "abcd"), "the tensors' data ends at 0, the file's data at 4"},
      {"GapAtBegin", one("\"U8\"", "[2]", "[2,4]"), "after a gap"},
      {"GapBetween", two("[0,4]", "[5,9]", "abcdefghi"), "after a gap"},
      {"Overlap", two("[0,4]", "[2,6]", "abcdef"), "inside another tensor's"},
      {"SameBytesTwice", two("[0,4]", "[0,4]", "abcd"), "inside another tensor's"},
      {"GapAtEnd", two("[0,4]", "[4,8]", "abcdefghi"), "the tensors' data ends at 8, the file's data at 9"},
  };
}

class Refuses : public testing::TestWithParam<Hostile> {};

TEST_P(Refuses, WithAClearError) {
  const auto tensors = parse(GetParam().bytes);
  ASSERT_FALSE(tensors.ok());
  EXPECT_TRUE(tensors.status().code() == ErrorCode::kBadModel || tensors.status().code() == ErrorCode::kUnsupported);
  EXPECT_THAT(tensors.status().message(), HasSubstr("m.safetensors"));
  EXPECT_THAT(tensors.status().message(), HasSubstr(GetParam().message));
  EXPECT_LT(tensors.status().message().size(), 1000u);
}

INSTANTIATE_TEST_SUITE_P(Safetensors, Refuses, testing::ValuesIn(hostile_files()), [](const auto& c) { return std::string(c.param.name); });

// Every truncation is refused; a changed byte gives tensors or an error, never anything else.
TEST(Safetensors, SurvivesTruncationAndChangedBytes) {
  test::Random random;
  SCOPED_TRACE(random.trace());
  const std::string good = safetensors(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[4],"data_offsets":[8,12]}})", "abcdefghijkl");
  for (size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(parse(good.substr(0, n)).ok());
  for (int i = 0; i < 2000; ++i) {
    std::string bytes = good;
    for (int64_t changes = random.integer(1, 3); changes > 0; --changes) {
      bytes[static_cast<size_t>(random.integer(0, static_cast<int64_t>(bytes.size()) - 1))] = static_cast<char>(random.integer(0, 255));
    }
    const auto tensors = parse(bytes);
    if (tensors.ok()) continue;
    EXPECT_THAT(tensors.status().message(), HasSubstr("m.safetensors"));
  }
}

TEST(Safetensors, NamesTheFileThatIsNotThere) {
  const auto tensors = read_safetensors("/nonexistent/model.safetensors");
  ASSERT_FALSE(tensors.ok());
  EXPECT_EQ(tensors.status().code(), ErrorCode::kNotFound);
  EXPECT_THAT(tensors.status().message(), HasSubstr("/nonexistent/model.safetensors"));
}

}  // namespace
}  // namespace tenon::hf
