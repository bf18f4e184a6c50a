// The restricted reader of pytorch_model.bin: state dicts, and nothing that could run.
#include "hf/pytorch_bin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "tests/hf/torch_file.h"
#include "tests/support/golden.h"
#include "tests/support/random.h"

namespace tenon::hf {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
namespace pickle = test::pickle;

Result<TensorMap> parse_archive(const std::string& bytes) {
  std::byte* memory = nullptr;
  auto block = std::make_shared<ir::Tensor>(*ir::Tensor::allocate(DType::kU8, {static_cast<int64_t>(bytes.size())}, &memory));
  std::memcpy(memory, bytes.data(), bytes.size());
  return parse_pytorch_bin({memory, bytes.size()}, block, "m.bin");
}

std::vector<double> values(const ir::Tensor& t) {
  std::vector<double> v;
  for (int64_t i = 0; i < t.numel(); ++i) v.push_back(t.at(i));
  return v;
}

TEST(PytorchBin, ReadsWhatSafetensorsHolds) {
  const std::string folder = test::golden_folder() + "checkpoints/";
  const auto tensors = read_pytorch_bin(folder + "bert-mlm-bin/pytorch_model.bin");
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  EXPECT_EQ(tensors->at("bert.embeddings.word_embeddings.weight").data(), tensors->at("cls.predictions.decoder.weight").data());
  EXPECT_THAT(tensors->at("bert.embeddings.LayerNorm.bias").shape(), ElementsAre(32));
}

TEST(PytorchBin, ReadsViews) {
  const auto tensors = parse_archive(test::torch_file(pickle::state_dict({
      {"whole", pickle::tensor({})},
      {"transposed", pickle::tensor({.shape = {3, 2}, .strides = {1, 3}})},
      {"tail", pickle::tensor({.offset = 4, .shape = {2}, .strides = {1}})},
      {"scalar", pickle::tensor({.offset = 5, .shape = {}, .strides = {}})},
      {"empty", pickle::tensor({.shape = {0, 4}, .strides = {4, 1}})},
      {"parameter", pickle::call(pickle::global("torch._utils", "_rebuild_parameter"), pickle::tuple({pickle::tensor({}), "\x88", pickle::ordered_dict()}))},
      {"_extra_state", pickle::integer(3)},
  })));
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  EXPECT_EQ(tensors->size(), 6u);
  EXPECT_THAT(values(tensors->at("whole")), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(values(tensors->at("transposed")), ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_THAT(values(tensors->at("tail")), ElementsAre(4, 5));
  EXPECT_THAT(values(tensors->at("scalar")), ElementsAre(5));
  EXPECT_EQ(tensors->at("empty").numel(), 0);
  EXPECT_THAT(tensors->at("parameter").shape(), ElementsAre(2, 3));
}

TEST(PytorchBin, ReadsAStateSetOnTheDictionary) {
  const std::string body = pickle::ordered_dict() + "(" + pickle::text("w") + pickle::tensor({}) + "u";
  const auto tensors = parse_archive(test::torch_file(pickle::file(body + "}" + pickle::text("_metadata") + pickle::ordered_dict() + "sb")));
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  EXPECT_EQ(tensors->size(), 1u);
}

struct HostileArchive {
  const char* name;
  std::string bytes;
  const char* message;
};

std::vector<HostileArchive> hostile_pickles() {
  using pickle::call, pickle::file, pickle::global, pickle::integer, pickle::integers, pickle::state_dict, pickle::tensor, pickle::text, pickle::tuple;
  const auto one = [](const std::string& value) { return state_dict({{"w", value}}); };
  const std::string system = global("os", "system");
  return {
      {"OsSystem", file(call(system, tuple({text("touch /tmp/owned")}))), "it names os.system"},
      {"PosixSystem", file(call(global("posix", "system"), tuple({text("id")}))), "it names posix.system"},
      {"BuiltinsEval", one(call(global("builtins", "eval"), tuple({text("1")}))), "it names builtins.eval"},
      {"BuiltinsGetattr", one(call(global("builtins", "getattr"), tuple({text("a"), text("b")}))), "it names builtins.getattr"},
      {"SubprocessPopen", file(call(global("subprocess", "Popen"), tuple({text("id")}))), "it names subprocess.Popen"},
      {"TorchLoad", file(call(global("torch", "load"), tuple({text("x")}))), "it names torch.load"},
      {"TorchHubThroughDots", file(global("torch", "hub.load")), "it names torch.hub.load"},
      {"WholeModule", file(global("torch.nn.modules.linear", "Linear")), "it names torch.nn.modules.linear.Linear"},
      {"StackGlobal", file(text("os") + text("system") + "\x93"), "it names os.system"},
      {"StackGlobalOfNumbers", file(integer(1) + integer(2) + "\x93"), "a global's name is not a string"},
      {"NameWithNewlineTricks", file("cos\n\n"), "it names os."},
      {"Instance", file("(ios\nsystem\n"), "opcode INST"},
      {"Object", file("(" + text("x") + "o"), "opcode OBJ"},
      {"NewObject", file(pickle::ordered_dict() + ")\x81"), "opcode NEWOBJ"},
      {"Extension", file("\x82\x01"), "opcode EXT1"},
      {"TextPersistentId", file("Pstorage\n"), "opcode PERSID"},
      {"UnknownOpcode", file("\xff"), "opcode 0xff"},
      {"ProtocolZero", "(dp0\n.", "opcode 'd'"},
      {"ProtocolNine", "\x80\x09.", "pickle protocol 9"},
      {"Empty", "", "cut off"},
      {"NoStop", "\x80\x02}", "cut off"},
      {"StopOnEmptyStack", file(""), "the stack is empty"},
      {"StringCutOff", "\x80\x02X\xff\xff\xff\xff" "abc", "cut off"},
      {"GlobalCutOff", "\x80\x02" "cos\nsystem", "cut off"},
      {"HugeInteger", file("\x8a\x09" + std::string(9, '\x7f')), "more than 64 bits"},
      {"MarkMissing", file("t"), "no mark"},
      {"TupleBelowMark", file(integer(1) + "(" "\x85"), "the stack is empty"},
      {"RecallOfNothing", file("h\x07"), "nothing is remembered as 7"},
      {"MemoOfNothing", file("q\x01"), "the stack is empty"},
      {"SetItemOnNumber", file(integer(1) + text("a") + text("b") + "s"), "no container"},
      {"SetItemsOdd", file("}(" + text("a") + "u"), "a key without a value"},
      {"AppendToDict", file("}" + text("a") + "a"), "no container"},
      {"StateOfNumber", file(integer(1) + "}b"), "a state is set"},
      {"CallOfNumber", file(call(integer(1), ")")), "no function"},
      {"CallWithDict", file(call(global("collections", "OrderedDict"), "}")), "no function"},
      {"DictWithArguments", file(call(global("collections", "OrderedDict"), tuple({text("a")}))), "unexpected arguments"},
      {"StorageCalled", file(call(global("torch", "FloatStorage"), ")")), "unexpected arguments"},
      {"TensorOfNumbers", one(call(global("torch._utils", "_rebuild_tensor_v2"), integers({1, 2, 3, 4}))), "unexpected arguments"},
      {"PersistentNumber", file(integer(1) + "Q"), "no storage"},
      {"PersistentModule", file(tuple({text("module"), global("torch", "FloatStorage"), text("0"), text("cpu"), integer(1)}) + "Q"), "no storage"},
      {"PersistentOfFunction", file(tuple({text("storage"), global("collections", "OrderedDict"), text("0"), text("cpu"), integer(1)}) + "Q"), "no storage"},
      {"TopLevelTensor", file(tensor({})), "no dictionary of tensors"},
      {"TopLevelText", file(text("hello")), "no dictionary of tensors"},
      {"KeyIsNumber", file("}" + integer(1) + tensor({}) + "s"), "key is not a string"},
      {"NegativeSize", one(tensor({.shape = {-2, 3}})), "outside its storage"},
      {"NegativeStride", one(tensor({.offset = 5, .shape = {6}, .strides = {-1}})), "outside its storage"},
      {"NegativeOffset", one(tensor({.offset = -1})), "outside its storage"},
      {"OffsetBeyond", one(tensor({.offset = 1})), "outside its storage"},
      {"EmptyBeyond", one(tensor({.offset = 100, .shape = {0}, .strides = {1}})), "outside its storage"},
      {"ShapeTooLarge", one(tensor({.shape = {3, 3}})), "outside its storage"},
      {"ShapeOverflows", one(tensor({.shape = {INT64_MAX, INT64_MAX}, .strides = {0, 0}})), "outside its storage"},
      {"StrideOverflows", one(tensor({.shape = {3, 2}, .strides = {INT64_MAX, 1}})), "outside its storage"},
      {"StridesMissing", one(tensor({.shape = {2, 3}, .strides = {1}})), "outside its storage"},
      {"StorageSmallerThanSaid", one(tensor({.storage_numel = 7})), "outside its storage"},
      {"ExpandedToTerabytes", one(tensor({.shape = {int64_t{1} << 40}, .strides = {0}})), "repeats elements"},
      {"StorageMissing", one(tensor({.key = "1"})), "its storage '1' is missing"},
      {"StorageKeyEscapes", one(tensor({.key = "../../etc/passwd"})), "is missing"},
      {"QuantisedStorage", one(tensor({.type = "QInt8Storage"})), "it names torch.QInt8Storage"},
      {"TooManyObjects", file(std::string(size_t{2} << 20, 'N')), "more than 1048576 objects"},
      {"NameGivenTwice", state_dict({{"w", tensor({})}, {"w", tensor({})}}), "given twice"},
  };
}

class RefusesPickle : public testing::TestWithParam<HostileArchive> {};

TEST_P(RefusesPickle, WithAClearError) {
  const auto tensors = parse_archive(test::torch_file(GetParam().bytes));
  ASSERT_FALSE(tensors.ok());
  EXPECT_TRUE(tensors.status().code() == ErrorCode::kBadModel || tensors.status().code() == ErrorCode::kUnsupported);
  EXPECT_THAT(tensors.status().message(), HasSubstr("m.bin: "));
  EXPECT_THAT(tensors.status().message(), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(PytorchBin, RefusesPickle, testing::ValuesIn(hostile_pickles()), [](const auto& c) { return std::string(c.param.name); });

std::vector<HostileArchive> hostile_archives() {
  const std::string dict = pickle::state_dict({});
  const test::ZipEntry good{.name = "a/data.pkl", .data = dict};
  const auto with = [&](auto change) {
    test::ZipEntry entry = good;
    change(entry);
    return test::zip({entry});
  };
  const std::string archive = test::zip({good});
  return {
      {"Empty", "", "no PyTorch checkpoint"},
      {"Text", "hello", "no PyTorch checkpoint"},
      {"LegacyFormat", std::string("\x80\x02\x8a\x0al\xfc\x9c", 7), "before PyTorch 1.6"},
      {"OnlyTheSignature", "PK", "too short"},
      {"NoDirectory", "PK" + std::string(100, 'x'), "no directory at its end"},
      {"CutOff", archive.substr(0, archive.size() - 1), "no directory at its end"},
      {"NoPickle", test::zip({{.name = "a/version", .data = "3"}}), "has no data.pkl"},
      {"EmptyArchive", test::zip({}), "has no data.pkl"},
      {"Compressed", with([](auto& e) { e.method = 8; }), "is compressed"},
      {"Encrypted", with([](auto& e) { e.flags = 1; }), "is encrypted"},
      {"WrongChecksum", with([](auto& e) { e.crc_change = 1; }), "wrong CRC"},
      {"DataElsewhere", with([](auto& e) { e.offset_change = 5; }), "is missing"},
      {"DataBeyondFile", with([](auto& e) { e.offset_change = 1 << 30; }), "is missing"},
      {"SizeBeyondFile", with([](auto& e) { e.size_change = 1 << 30; }), "is cut off"},
      {"NameGivenTwice", test::zip({good, good}), "is given twice"},
      {"BigEndian", test::zip({good, {.name = "a/byteorder", .data = "big"}}), "byte order 'big'"},
      {"DirectoryBeyondFile", archive.substr(0, archive.size() - 6) + test::little_endian(1 << 30, 4) + std::string(2, '\0'), "outside the file"},
      {"ManyEntriesClaimed", archive.substr(0, archive.size() - 12) + "\xff\x7f" + archive.substr(archive.size() - 10), "outside the file"},
      {"Zip64RecordMissing", archive.substr(0, archive.size() - 6) + std::string(4, '\xff') + std::string(2, '\0'), "outside the file"},
  };
}

class RefusesArchive : public testing::TestWithParam<HostileArchive> {};

TEST_P(RefusesArchive, WithAClearError) {
  const auto tensors = parse_archive(GetParam().bytes);
  ASSERT_FALSE(tensors.ok());
  EXPECT_THAT(tensors.status().message(), HasSubstr("m.bin: "));
  EXPECT_THAT(tensors.status().message(), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(PytorchBin, RefusesArchive, testing::ValuesIn(hostile_archives()), [](const auto& c) { return std::string(c.param.name); });

TEST(PytorchBin, SurvivesTruncationAndChangedBytes) {
  test::Random random;
  SCOPED_TRACE(random.trace());
  const std::string dict = pickle::state_dict({{"w", pickle::tensor({})}, {"v", pickle::tensor({.shape = {3, 2}, .strides = {1, 3}})}});
  const std::string good = test::torch_file(dict);
  for (size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(parse_archive(good.substr(0, n)).ok());
  for (int i = 0; i < 3000; ++i) {
    // In the pickle, where the archive's checksum does not catch it.
    std::string bytes = dict;
    for (int64_t changes = random.integer(1, 3); changes > 0; --changes) {
      bytes[static_cast<size_t>(random.integer(0, static_cast<int64_t>(bytes.size()) - 1))] = static_cast<char>(random.integer(0, 255));
    }
    const auto tensors = parse_archive(test::torch_file(bytes));
    if (tensors.ok()) continue;
    EXPECT_THAT(tensors.status().message(), HasSubstr("m.bin"));
  }
}

}  // namespace
}  // namespace tenon::hf
