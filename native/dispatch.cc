#include "dispatch.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace crafter {

extern const Kernels kernels_generic;
#ifdef CRAFTER_X86
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

namespace {

std::vector<const Kernels*> available() {
  std::vector<const Kernels*> found{&kernels_generic};
#ifdef CRAFTER_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) {
    found.push_back(&kernels_avx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl")) {
      found.push_back(&kernels_avx512);
    }
  }
#endif
  return found;
}

const Kernels* choose() {
  const std::vector<const Kernels*> found = available();
  const char* wanted = std::getenv("ENVGEN_CRAFTER_KERNELS");
  if (wanted == nullptr || *wanted == '\0') return found.back();
  std::string names;
  for (const Kernels* candidate : found) {
    if (std::string(wanted) == candidate->name) return candidate;
    names += std::string(names.empty() ? "" : ", ") + candidate->name;
  }
  throw std::runtime_error("ENVGEN_CRAFTER_KERNELS: this processor can't run " + std::string(wanted) +
                           ", allowed are " + names);
}

}  // namespace

const Kernels& kernels() {
  static const Kernels* const chosen = choose();
  return *chosen;
}

}  // namespace crafter
