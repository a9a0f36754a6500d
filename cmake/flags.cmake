# How everything that runs on the host is compiled: warnings, hardening, sanitizers.
include(CheckCCompilerFlag)
include(CheckCSourceCompiles)
include(CheckLinkerFlag)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

add_library(skep_flags INTERFACE)
target_compile_definitions(skep_flags INTERFACE _GNU_SOURCE)
target_compile_options(skep_flags INTERFACE
  -Wall -Wextra -Werror -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
  -Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef -Wvla
  -Wformat=2 -Wimplicit-fallthrough -Wdate-time
  # Not in tests: their assertions do not end a function in the compiler's eyes.
  $<$<NOT:$<BOOL:$<TARGET_PROPERTY:SKEP_TEST>>>:-Wnull-dereference>
  -fno-common -fno-strict-aliasing -fvisibility=hidden
  # Behind the -fPIC that objects get for libraries: all of it goes into programs.
  -fPIE)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  target_compile_options(skep_flags INTERFACE -Wlogical-op -Wduplicated-cond -Wtrampolines)
endif()

if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_definitions(skep_flags INTERFACE SKEP_LOCK_CHECKS)
endif()

if(SKEP_COVERAGE)
  target_compile_definitions(skep_flags INTERFACE SKEP_COVERAGE)
  target_compile_options(skep_flags INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(skep_flags INTERFACE --coverage)
endif()

if(SKEP_SANITIZE)
  target_compile_options(skep_flags INTERFACE
    -fsanitize=${SKEP_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(skep_flags INTERFACE -fsanitize=${SKEP_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(skep_flags INTERFACE
    -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection
    -ffunction-sections -fdata-sections
    # Nothing unwinds a stack at run time; debuggers have their own tables, which strip takes.
    -fno-asynchronous-unwind-tables -fno-unwind-tables)
  # Clang before 16 wants to be asked twice.
  check_c_compiler_flag(-ftrivial-auto-var-init=zero SKEP_HAVE_AUTO_INIT)
  if(SKEP_HAVE_AUTO_INIT)
    target_compile_options(skep_flags INTERFACE -ftrivial-auto-var-init=zero)
  endif()
  target_link_options(skep_flags INTERFACE
    -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code -Wl,--gc-sections -Wl,--as-needed)
  # Tables of pointers need a relocation each, which this packs to a bit. Linkers that do not know it
  # warn and go on, and so lld is not asked.
  if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    check_linker_flag(C -Wl,-z,pack-relative-relocs SKEP_HAVE_RELR)
  endif()
  if(SKEP_HAVE_RELR)
    target_link_options(skep_flags INTERFACE -Wl,-z,pack-relative-relocs)
  endif()
  # Control flow: clang checks every indirect call against the callee's type, which needs
  # link-time optimisation, and whose jump tables do not get along with branch tracking before
  # clang 15. Where that is not to be had, the processor's branch tracking and shadow stack are.
  set(SKEP_HAVE_CFI OFF)
  if(CMAKE_C_COMPILER_ID MATCHES "Clang")
    set(cfi -flto=thin -fsanitize=cfi-icall -fsanitize-cfi-icall-generalize-pointers)
    list(JOIN cfi " " CMAKE_REQUIRED_FLAGS)
    string(APPEND CMAKE_REQUIRED_FLAGS " -fvisibility=hidden -fuse-ld=lld")
    check_c_source_compiles("int main(void) { return 0; }" SKEP_CFI_LINKS)
    unset(CMAKE_REQUIRED_FLAGS)
    set(SKEP_HAVE_CFI ${SKEP_CFI_LINKS})
  endif()
  if(SKEP_HAVE_CFI)
    target_compile_options(skep_flags INTERFACE ${cfi} -fcf-protection=return)
    # What one program's link compiled serves the others: the unit tests share most of their code.
    # Functions are not inlined across files: the names of what that takes along have a hash of the
    # path in them, and two builds would differ.
    target_link_options(skep_flags INTERFACE ${cfi} -fuse-ld=lld
                        -Wl,--thinlto-cache-dir=${CMAKE_BINARY_DIR}/lto
                        -Wl,-mllvm,-import-instr-limit=0
                        -Wl,-mllvm,-import-constants-with-refs=0)
  else()
    target_compile_options(skep_flags INTERFACE -fcf-protection=full)
  endif()
endif()
