#!/usr/bin/env bash
# Runs the native engines' tests on debug builds: under the address and undefined-behaviour sanitizers, then what is
# threaded under the thread sanitizer. Usage: native/sanitize.sh [python] [memory|threads]; builds go to build/sanitize-*.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${1:-.venv/bin/python}
only=${2:-}
compiler=${CXX:-c++}

# Says what its name says, for the sanitizers in $1, the runtime library in $2 and the tests that follow.
build_and_test() {
  local sanitizers=$1 runtime=$2 build=build/sanitize-${2#lib}
  shift 2
  "$python" -m cmake -S native -B "$build" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g" \
    -DCRAFTER_SANITIZE="$sanitizers" -DCRAFTER_WARNINGS_AS_ERRORS=ON -DPython_EXECUTABLE="$(realpath -s "$python")" >/dev/null
  "$python" -m cmake --build "$build" --parallel >/dev/null
  # Python's own allocations are no business of ours, and a sanitizer's runtime must come first.
  LD_PRELOAD="$("$compiler" -print-file-name="$runtime.so"):$("$compiler" -print-file-name=libstdc++.so)" \
    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1 \
    CRAFTER_BUILD="$build" PYTHONMALLOC=malloc PYTHONPATH=tests \
    "$python" -m pytest -q -p native_build -p no:cacheprovider "$@"
}

# Not here: tests in a Python of their own, which takes the installed engine, and of memory, which a sanitizer multiplies.
own="instruction_set or forked or memory_of or machine_gives or a_failure_in or world_that"
if [ "$only" != threads ]; then
  build_and_test address,undefined libasan tests/test_native_engine.py tests/test_family_contract.py -k "native and not ($own)"
  build_and_test address,undefined libasan tests/test_driving_frames.py -m "not long"
fi
if [ "$only" != memory ]; then
  build_and_test thread libtsan tests/test_native_engine.py \
    -k "(threads or company or background or time) and not ($own)"
  build_and_test thread libtsan tests/test_driving_frames.py -k "function_of_design"
fi
