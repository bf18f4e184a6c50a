// A library to preload that hides instruction sets from a process and its children, so that whatever asks CPUID (Tenon,
// ONNX Runtime, oneDNN, OpenVINO, PyTorch, MKL) dispatches as on a processor that lacks them.
//
//   LD_PRELOAD=build/release/libmask_isa.so BENCH_ISA=avx2 program
//
// BENCH_ISA names what stays: avx2, avx_vnni, avx512, avx512_vnni or avx512_bf16 (src/kernels/cpu/isa.h). Linux lets CPUID
// fault where the processor can ("cpuid_fault" in /proc/cpuinfo); the handler here answers with bits cleared. Threads and
// forks inherit that; exec ends it, and the new program preloads this again. What the dynamic linker read before, for
// memcpy and the like, stays as it is, and so does XCR0: nobody uses registers whose instructions CPUID denies. Caches,
// ports and clocks remain this processor's.
#include <asm/prctl.h>
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace {

enum Level { kAvx2, kAvxVnni, kAvx512, kAvx512Vnni, kAvx512Bf16, kLevels };
constexpr const char* kNames[kLevels] = {"avx2", "avx_vnni", "avx512", "avx512_vnni", "avx512_bf16"};
Level level = kLevels;

using Sigaction = int (*)(int, const struct sigaction*, struct sigaction*);
Sigaction system_sigaction() {
  static const auto found = reinterpret_cast<Sigaction>(dlsym(RTLD_NEXT, "sigaction"));
  return found;
}
// What is done about faults that are not CPUID's: as the program asked, who never sees the handler here.
struct sigaction of_program = {};

struct Registers {
  uint32_t a, b, c, d;
};

constexpr uint32_t bits(std::initializer_list<int> which) {
  uint32_t word = 0;
  for (int bit : which) word |= 1u << bit;
  return word;
}

void hide(uint32_t leaf, uint32_t sub, Registers& r) {
  const bool wide = level >= kAvx512;
  if (leaf == 7 && sub == 0) {
    r.d &= ~bits({22, 23, 24, 25});                         // AMX-BF16, AVX512-FP16, AMX-TILE, AMX-INT8
    if (level < kAvx512Bf16) r.c &= ~bits({1, 6, 12, 14});  // VBMI, VBMI2, BITALG, VPOPCNTDQ
    if (level < kAvx512Vnni) r.c &= ~bits({11});            // VNNI
    if (!wide) r.b &= ~bits({16, 17, 21, 28, 30, 31});      // F, DQ, IFMA, CD, BW, VL
    if (!wide) r.d &= ~bits({2, 3, 8});                     // 4VNNIW, 4FMAPS, VP2INTERSECT
  }
  if (leaf == 7 && sub == 1) {
    r.a &= ~bits({21, 23});                                            // AMX-FP16, AVX-IFMA
    if (level != kAvxVnni && level != kAvx512Bf16) r.a &= ~bits({4});  // AVX-VNNI
    if (level < kAvx512Bf16) r.a &= ~bits({5});                        // AVX512-BF16
    r.d &= ~bits({4, 5, 8, 10, 19});  // AVX-VNNI-INT8, AVX-NE-CONVERT, AMX-COMPLEX, AVX-VNNI-INT16, AVX10
  }
  // State that XSAVE knows: mask registers and wide vectors, tiles.
  const uint32_t state = wide ? bits({17, 18}) : bits({5, 6, 7, 17, 18});
  if (leaf == 0xd && sub == 0) r.a &= ~state;
  if (leaf == 0xd && sub > 1 && sub < 32 && (state >> sub & 1) != 0) r = {};
  if (leaf == 0x1d || leaf == 0x1e || leaf == 0x24) r = {};  // sizes of tiles and of their products, AVX10's version
}

long let_cpuid(bool answer) { return syscall(SYS_arch_prctl, ARCH_SET_CPUID, answer ? 1L : 0L); }

void on_fault(int number, siginfo_t* info, void* context) {
  constexpr unsigned char kCpuid[] = {0x0f, 0xa2};
  greg_t* regs = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  if (info->si_code == SI_KERNEL && std::memcmp(reinterpret_cast<void*>(regs[REG_RIP]), kCpuid, sizeof kCpuid) == 0) {
    const auto leaf = static_cast<uint32_t>(regs[REG_RAX]), sub = static_cast<uint32_t>(regs[REG_RCX]);
    Registers r = {};
    let_cpuid(true);
    __cpuid_count(leaf, sub, r.a, r.b, r.c, r.d);
    let_cpuid(false);
    hide(leaf, sub, r);
    regs[REG_RAX] = r.a;
    regs[REG_RBX] = r.b;
    regs[REG_RCX] = r.c;
    regs[REG_RDX] = r.d;
    regs[REG_RIP] += sizeof kCpuid;
    return;
  }
  if ((of_program.sa_flags & SA_SIGINFO) != 0) return of_program.sa_sigaction(number, info, context);
  if (of_program.sa_handler != SIG_DFL && of_program.sa_handler != SIG_IGN) return of_program.sa_handler(number);
  system_sigaction()(SIGSEGV, &of_program, nullptr);  // the instruction faults again, and ends the program
}

__attribute__((constructor)) void mask() {
  const char* name = std::getenv("BENCH_ISA");
  if (name == nullptr) return;
  for (int i = 0; i < kLevels; ++i)
    if (std::strcmp(name, kNames[i]) == 0) level = static_cast<Level>(i);
  struct sigaction ours = {};
  ours.sa_sigaction = on_fault;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  // A figure under a wrong name would be worse than none.
  if (level == kLevels || system_sigaction()(SIGSEGV, &ours, &of_program) != 0 || let_cpuid(false) != 0) {
    std::fprintf(stderr, "BENCH_ISA=%s: not a name that mask_isa knows, or CPUID cannot fault here\n", name);
    std::_Exit(1);
  }
}

}  // namespace

// The program's own handlers stay behind the one above.
extern "C" int sigaction(int number, const struct sigaction* wanted, struct sigaction* before) noexcept {
  if (number != SIGSEGV || level == kLevels) return system_sigaction()(number, wanted, before);
  if (before != nullptr) *before = of_program;
  if (wanted != nullptr) of_program = *wanted;
  return 0;
}

extern "C" sighandler_t signal(int number, sighandler_t handler) noexcept {
  struct sigaction wanted = {}, before = {};
  wanted.sa_handler = handler;
  wanted.sa_flags = SA_RESTART;
  return sigaction(number, &wanted, &before) == 0 ? before.sa_handler : SIG_ERR;
}
