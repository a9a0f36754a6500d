# How everything that runs on the host is compiled: warnings, hardening, sanitizers.
include(CheckCCompilerFlag)
include(CheckCSourceCompiles)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

add_library(skep_flags INTERFACE)
target_compile_definitions(skep_flags INTERFACE _GNU_SOURCE)
target_compile_options(skep_flags INTERFACE
  -Wall -Wextra -Werror -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
  -Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef -Wvla
  -Wformat=2 -Wimplicit-fallthrough
  # Not in tests: their assertions do not end a function in the compiler's eyes.
  $<$<NOT:$<BOOL:$<TARGET_PROPERTY:SKEP_TEST>>>:-Wnull-dereference>
  -fno-common -fno-strict-aliasing -fvisibility=hidden)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  target_compile_options(skep_flags INTERFACE -Wlogical-op -Wduplicated-cond -Wtrampolines)
endif()

if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_definitions(skep_flags INTERFACE SKEP_LOCK_CHECKS)
endif()

if(SKEP_SANITIZE)
  target_compile_options(skep_flags INTERFACE
    -fsanitize=${SKEP_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(skep_flags INTERFACE -fsanitize=${SKEP_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(skep_flags INTERFACE
    -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection
    -fcf-protection=full -ftrivial-auto-var-init=zero -ffunction-sections -fdata-sections)
  target_link_options(skep_flags INTERFACE
    -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code -Wl,--gc-sections -Wl,--as-needed)
  # Clang checks every indirect call against the callee's type; it needs link-time optimisation.
  if(CMAKE_C_COMPILER_ID MATCHES "Clang")
    find_program(SKEP_LLD ld.lld)
    set(cfi -flto=thin -fsanitize=cfi-icall -fsanitize-cfi-icall-generalize-pointers)
    set(CMAKE_REQUIRED_FLAGS "-flto=thin -fsanitize=cfi-icall -fvisibility=hidden -fuse-ld=lld")
    check_c_source_compiles("int main(void) { return 0; }" SKEP_HAVE_CFI)
    unset(CMAKE_REQUIRED_FLAGS)
    if(SKEP_HAVE_CFI)
      target_compile_options(skep_flags INTERFACE ${cfi})
      target_link_options(skep_flags INTERFACE ${cfi} -fuse-ld=lld)
    endif()
  endif()
endif()
