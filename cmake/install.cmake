# What `cmake --install` puts where, and the Debian package made of the same.
include(GNUInstallDirs)
install(TARGETS skep RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN *.md PATTERN *.png)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
install(FILES ${CMAKE_BINARY_DIR}/made/skep.cdx.json DESTINATION ${CMAKE_INSTALL_DOCDIR})

# The man page and the completion are made from the option tables in the binary, so they cannot
# fall behind it. A sanitized binary is slow, and nobody installs it.
if(NOT SKEP_SANITIZE)
  find_program(AWK awk REQUIRED)
  set(cli_awk ${CMAKE_SOURCE_DIR}/cmake/cli.awk)
  set(page ${CMAKE_SOURCE_DIR}/docs/skep.1.in)
  set(made ${CMAKE_BINARY_DIR}/made)
  file(MAKE_DIRECTORY ${made})
  add_custom_command(OUTPUT ${made}/tables COMMAND skep _tables > ${made}/tables DEPENDS skep)
  add_custom_command(OUTPUT ${made}/skep.1
                     COMMAND ${AWK} -v page=${page} -f ${cli_awk} ${made}/tables > ${made}/skep.1
                     DEPENDS ${made}/tables ${page} ${cli_awk})
  add_custom_command(OUTPUT ${made}/skep
                     COMMAND ${AWK} -f ${cli_awk} ${made}/tables > ${made}/skep
                     DEPENDS ${made}/tables ${cli_awk})
  add_custom_target(skep_made ALL DEPENDS ${made}/skep.1 ${made}/skep)
  install(FILES ${made}/skep.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${made}/skep DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_CONTACT "skep authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "minimal virtual machine monitor for Linux KVM")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
    "skep boots Linux kernels in virtual machines made of a few devices, in one process.
 It starts a stock kernel straight from its file, shows its console, and ends with a
 status that says how the guest came to its end.")
set(CPACK_DEBIAN_PACKAGE_SECTION misc)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# Opened at run time: what puts an instruction that KVM stumbled over in words, hashes images, reads
# symbols, and unpacks kernels.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS
    "libcap-ng0, libcapstone4, libnettle8, libpcre2-8-0, libarchive13, libelf1, libdw1, libdeflate0, liblzma5, libbz2-1.0, liblzo2-2, liblz4-1, libzstd1")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
include(CPack)
