# What skep is made of, as a CycloneDX document for those who look for what has to be updated: the
# libraries that it is linked with (required) or opens when it needs them (optional), those that
# build it (excluded), and the files that are parts of it. Versions are those that it was built
# with. There is no time and no serial number in it, so that two builds are the same.
#
# Included while skep is configured, this makes the rule; run by the rule, with -P, it hashes the
# files.

# FILES are NAME=PATH; @NAME@ in IN becomes the hash of the file.
if(CMAKE_SCRIPT_MODE_FILE)
  foreach(file ${FILES})
    string(REGEX MATCH "^([^=]*)=(.*)$" file "${file}")
    file(SHA256 ${CMAKE_MATCH_2} ${CMAKE_MATCH_1})
  endforeach()
  configure_file(${IN} ${OUT} @ONLY)
  return()
endif()

set(sbom_list "")
set(sbom_refs "")

# sbom_library(SCOPE NAME VERSION LICENCE [SONAME])
function(sbom_library scope name version licence)
  set(more "")
  if(ARGC GREATER 4)
    set(more ",\n      \"properties\": [{ \"name\": \"skep:soname\", \"value\": \"${ARGV4}\" }]")
  endif()
  string(REGEX REPLACE "[ \n]+$" "" version "${version}")
  if(NOT version)
    message(FATAL_ERROR "the version of ${name} is not known")
  endif()
  string(APPEND sbom_list "    {
      \"type\": \"library\",
      \"bom-ref\": \"${name}\",
      \"name\": \"${name}\",
      \"version\": \"${version}\",
      \"scope\": \"${scope}\",
      \"licenses\": [{ ${licence} }],
      \"purl\": \"pkg:generic/${name}@${version}\"${more}
    },\n")
  set(sbom_list "${sbom_list}" PARENT_SCOPE)
  if(NOT scope STREQUAL "excluded")
    set(sbom_refs "${sbom_refs}\"${name}\", " PARENT_SCOPE)
  endif()
endfunction()

# sbom_file(NAME WHAT): NAME is that of EMBED().
function(sbom_file name what)
  string(APPEND sbom_list "    {
      \"type\": \"file\",
      \"bom-ref\": \"${name}\",
      \"name\": \"${name}\",
      \"version\": \"${PROJECT_VERSION}\",
      \"description\": \"${what}\",
      \"scope\": \"required\",
      \"hashes\": [{ \"alg\": \"SHA-256\", \"content\": \"@${name}@\" }],
      \"licenses\": [{ \"license\": { \"id\": \"BSD-2-Clause\" } }]
    },\n")
  set(sbom_list "${sbom_list}" PARENT_SCOPE)
  set(sbom_refs "${sbom_refs}\"${name}\", " PARENT_SCOPE)
endfunction()

find_program(GETCONF getconf REQUIRED)
execute_process(COMMAND ${GETCONF} GNU_LIBC_VERSION OUTPUT_VARIABLE libc)
string(REGEX REPLACE "^glibc ([0-9.]+).*" "\\1" libc "${libc}")
file(STRINGS ${BZIP2_INCLUDE_DIRS}/bzlib.h bzip2 REGEX "libbzip2 version [0-9.]+" LIMIT_COUNT 1)
string(REGEX REPLACE ".*version ([0-9.]+).*" "\\1" bzip2 "${bzip2}")

sbom_library(required glibc "${libc}" "\"license\": { \"id\": \"LGPL-2.1-or-later\" }" libc.so.6)
sbom_library(required liburing "${URING_VERSION}" "\"expression\": \"LGPL-2.1-or-later OR MIT\""
             liburing.so.2)
sbom_library(required jansson "${JANSSON_VERSION}" "\"license\": { \"id\": \"MIT\" }" libjansson.so.4)
sbom_library(optional libcap-ng "${CAPNG_VERSION}" "\"license\": { \"id\": \"LGPL-2.1-or-later\" }"
             libcap-ng.so.0)
sbom_library(optional capstone "${CAPSTONE_VERSION}" "\"license\": { \"id\": \"BSD-3-Clause\" }"
             libcapstone.so.4)
sbom_library(optional nettle "${NETTLE_VERSION}"
             "\"expression\": \"LGPL-3.0-or-later OR GPL-2.0-or-later\"" libnettle.so.8)
sbom_library(optional libarchive "${ARCHIVE_VERSION}" "\"license\": { \"id\": \"BSD-2-Clause\" }"
             libarchive.so.13)
sbom_library(optional pcre2 "${PCRE2_VERSION}" "\"license\": { \"id\": \"BSD-3-Clause\" }"
             libpcre2-8.so.0)
sbom_library(optional libelf "${ELFUTILS_libelf_VERSION}"
             "\"expression\": \"LGPL-3.0-or-later OR GPL-2.0-or-later\"" libelf.so.1)
sbom_library(optional libdw "${ELFUTILS_libdw_VERSION}"
             "\"expression\": \"LGPL-3.0-or-later OR GPL-2.0-or-later\"" libdw.so.1)
sbom_library(optional libdeflate "${UNPACK_libdeflate_VERSION}" "\"license\": { \"id\": \"MIT\" }"
             libdeflate.so.0)
sbom_library(optional liblz4 "${UNPACK_liblz4_VERSION}" "\"license\": { \"id\": \"BSD-2-Clause\" }"
             liblz4.so.1)
sbom_library(optional liblzma "${UNPACK_liblzma_VERSION}" "\"license\": { \"name\": \"public domain\" }"
             liblzma.so.5)
sbom_library(optional bzip2 "${bzip2}" "\"license\": { \"id\": \"bzip2-1.0.6\" }" libbz2.so.1.0)
sbom_library(optional lzo2 "${UNPACK_lzo2_VERSION}" "\"license\": { \"id\": \"GPL-2.0-or-later\" }"
             liblzo2.so.2)
sbom_library(optional zstd "${UNPACK_libzstd_VERSION}"
             "\"expression\": \"BSD-3-Clause OR GPL-2.0-only\"" libzstd.so.1)
sbom_library(excluded libseccomp "${SECCOMP_VERSION}" "\"license\": { \"id\": \"LGPL-2.1-only\" }")
sbom_file(demo_image "the guest that is booted without a kernel, a bzImage")
sbom_file(bios_image "what a boot sector finds of a BIOS")
sbom_file(init_image "the first program of a guest that runs one command")
sbom_file(view_frame "the frame of a page of traces, gzip")
string(REGEX REPLACE ",\n$" "" sbom_list "${sbom_list}")
string(REGEX REPLACE ", $" "" sbom_refs "${sbom_refs}")

set(made ${CMAKE_BINARY_DIR}/made)
file(MAKE_DIRECTORY ${made})
file(WRITE ${made}/skep.cdx.json.new "{
  \"bomFormat\": \"CycloneDX\",
  \"specVersion\": \"1.5\",
  \"version\": 1,
  \"metadata\": {
    \"component\": {
      \"type\": \"application\",
      \"bom-ref\": \"skep\",
      \"name\": \"skep\",
      \"version\": \"${PROJECT_VERSION}\",
      \"description\": \"${PROJECT_DESCRIPTION}\",
      \"licenses\": [{ \"license\": { \"id\": \"BSD-2-Clause\" } }],
      \"purl\": \"pkg:generic/skep@${PROJECT_VERSION}\"
    }
  },
  \"components\": [
${sbom_list}
  ],
  \"dependencies\": [
    { \"ref\": \"skep\", \"dependsOn\": [${sbom_refs}] }
  ]
}
")
configure_file(${made}/skep.cdx.json.new ${made}/skep.cdx.json.in COPYONLY)
set(sbom_files
  demo_image=${CMAKE_BINARY_DIR}/firmware/demo/demo.bz
  bios_image=${CMAKE_BINARY_DIR}/firmware/bios/bios.bin
  init_image=${CMAKE_BINARY_DIR}/firmware/init/init.img
  view_frame=${CMAKE_BINARY_DIR}/src/view/page.html.gz)
# By way of the program, whose parts they are.
add_custom_command(OUTPUT ${made}/skep.cdx.json
  COMMAND ${CMAKE_COMMAND} "-DIN=${made}/skep.cdx.json.in" "-DOUT=${made}/skep.cdx.json"
          "-DFILES=${sbom_files}" -P ${CMAKE_CURRENT_LIST_FILE}
  COMMAND ${CMAKE_COMMAND} -E touch ${made}/skep.cdx.json
  DEPENDS skep ${made}/skep.cdx.json.in ${CMAKE_CURRENT_LIST_FILE} VERBATIM)
add_custom_target(skep_sbom ALL DEPENDS ${made}/skep.cdx.json)
