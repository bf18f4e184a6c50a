# How this project's targets are made. Sources are found by folder, so a new file edits no build list.

add_library(tenon_options INTERFACE)
target_compile_options(tenon_options INTERFACE -Wall -Wextra -Wshadow -Wconversion)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # False alarms at std::string + (GCC bug 105651).
  target_compile_options(tenon_options INTERFACE -Wno-restrict -Wno-stringop-overflow)
endif()
if(TENON_WERROR)
  target_compile_options(tenon_options INTERFACE -Werror)
endif()
if(TENON_SANITIZE)
  target_compile_options(tenon_options INTERFACE -fsanitize=${TENON_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(tenon_options INTERFACE -fsanitize=${TENON_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Memory for time, where only developers and CI build: the compiler rarely collects its garbage, and takes a third more.
    target_compile_options(tenon_options INTERFACE "SHELL:--param ggc-min-heapsize=1000000" "SHELL:--param ggc-min-expand=300")
  endif()
endif()

if(TENON_FUZZ)
  target_compile_options(tenon_options INTERFACE -fsanitize=fuzzer-no-link)  # coverage of the libraries guides the fuzzers
endif()

# With CMAKE_UNITY_BUILD (the presets set it: a clean build takes half the time) the files of a folder are compiled as one.
# Alone stay what needs flags of its own and the folders whose files repeat names (infer, reference, encode); what those
# include is compiled once: PRECOMPILED of tenon_library.
function(tenon_unity target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD_MODE GROUP)
  foreach(source ${ARGN})
    if(NOT source MATCHES "/src/(ops|hf/families)/|_(avx2|avx512|scalar)\\.cc$")
      cmake_path(GET source PARENT_PATH folder)
      cmake_path(RELATIVE_PATH folder BASE_DIRECTORY ${PROJECT_SOURCE_DIR})
      string(MAKE_C_IDENTIFIER ${folder} folder)
      set_source_files_properties(${source} PROPERTIES UNITY_GROUP ${folder})
    endif()
  endforeach()
endfunction()

# tenon_library(NAME [OBJECT] FOLDERS a b … [PRECOMPILED header]): a static library, or objects, of src/a/**.cc, src/b/**.cc …
function(tenon_library name)
  cmake_parse_arguments(ARG "OBJECT" "PRECOMPILED" "FOLDERS" ${ARGN})
  set(sources)
  foreach(folder ${ARG_FOLDERS})
    file(GLOB_RECURSE found CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${folder}/*.cc)
    if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
      list(FILTER found EXCLUDE REGEX "_(avx2|avx512)\\.cc$")
    endif()
    list(APPEND sources ${found})
  endforeach()
  set(kind STATIC)
  if(ARG_OBJECT)
    set(kind OBJECT)
  endif()
  add_library(${name} ${kind} ${sources})
  target_include_directories(${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>
                                     PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_BINARY_DIR}/generated)
  target_link_libraries(${name} PRIVATE $<BUILD_INTERFACE:tenon_options>)
  tenon_unity(${name} ${sources})
  if(ARG_PRECOMPILED)
    target_precompile_headers(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src/${ARG_PRECOMPILED})
  endif()
  # One object per instruction set: the file's suffix names it. With sanitizers -O3 would take minutes.
  set(fast -O3)
  if(TENON_SANITIZE)
    set(fast -O1)
  endif()
  set(avx2 ${fast} -mavx2 -mfma -mf16c -mbmi -mbmi2)
  set(avx512 ${avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd -mprefer-vector-width=512)
  foreach(source ${sources})
    if(source MATCHES "_(avx2|avx512)\\.cc$")
      set_source_files_properties(${source} PROPERTIES SKIP_PRECOMPILE_HEADERS ON COMPILE_OPTIONS "${${CMAKE_MATCH_1}}")
    endif()
  endforeach()
endfunction()

# Generated headers and sources live in the build folder only.
function(tenon_flatbuffers target schema)
  get_filename_component(base ${schema} NAME_WE)
  get_filename_component(folder ${schema} DIRECTORY)
  string(REPLACE "src/" "" folder ${folder})
  set(out ${PROJECT_BINARY_DIR}/generated/${folder})
  file(MAKE_DIRECTORY ${out})
  add_custom_command(OUTPUT ${out}/${base}_generated.h
    COMMAND ${FLATC} --cpp --scoped-enums -o ${out} ${PROJECT_SOURCE_DIR}/${schema}
    DEPENDS ${PROJECT_SOURCE_DIR}/${schema} COMMENT "FlatBuffers ${schema}")
  target_sources(${target} PRIVATE ${out}/${base}_generated.h)
endfunction()

# tenon_embed(TARGET FOLDER HEADER NAMESPACE::NAME SUFFIX…): the files of src/FOLDER with these suffixes travel inside the
# binary as text, in generated/FOLDER/HEADER.
function(tenon_embed target folder header variable)
  set(files)
  foreach(suffix ${ARGN})
    file(GLOB_RECURSE found CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${folder}/*.${suffix})
    list(APPEND files ${found})
  endforeach()
  string(REGEX MATCH "^(.*)::([^:]*)$" split ${variable})
  set(out ${PROJECT_BINARY_DIR}/generated/${folder}/${header})
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} "-DFILES=${files}" -DNAMESPACE=${CMAKE_MATCH_1} -DNAME=${CMAKE_MATCH_2} -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${files} ${PROJECT_SOURCE_DIR}/cmake/embed.cmake COMMENT "Embedding ${folder}" VERBATIM)
  target_sources(${target} PRIVATE ${out})
endfunction()

function(tenon_protobuf target proto)
  get_filename_component(base ${proto} NAME_WE)
  get_filename_component(folder ${proto} DIRECTORY)
  string(REPLACE "src/" "" folder ${folder})
  set(out ${PROJECT_BINARY_DIR}/generated/${folder})
  file(MAKE_DIRECTORY ${out})
  add_custom_command(OUTPUT ${out}/${base}.pb.cc ${out}/${base}.pb.h
    COMMAND protobuf::protoc --cpp_out=${out} -I ${PROJECT_SOURCE_DIR}/src/${folder} ${PROJECT_SOURCE_DIR}/${proto}
    DEPENDS ${PROJECT_SOURCE_DIR}/${proto} COMMENT "protobuf ${proto}")
  target_sources(${target} PRIVATE ${out}/${base}.pb.cc)
  set_source_files_properties(${out}/${base}.pb.cc PROPERTIES COMPILE_OPTIONS "-w")
  target_include_directories(${target} SYSTEM PRIVATE ${out})
endfunction()

# The command line: tools/*.cc -> build/<preset>/tenon.
function(tenon_program)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tools/*.cc)
  if(NOT sources)
    return()
  endif()
  add_executable(tenon_cli ${sources})
  tenon_unity(tenon_cli ${sources})
  set_source_files_properties(${PROJECT_SOURCE_DIR}/tools/tenon.cc ${PROJECT_SOURCE_DIR}/tools/exec.cc PROPERTIES COMPILE_DEFINITIONS TENON_VERSION="${PROJECT_VERSION}")
  set_target_properties(tenon_cli PROPERTIES OUTPUT_NAME tenon RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  target_include_directories(tenon_cli PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
  target_link_libraries(tenon_cli PRIVATE tenon tenon_options fmt::fmt nlohmann_json::nlohmann_json CLI11::CLI11 ZLIB::ZLIB
    JPEG::JPEG PNG::PNG)
  install(TARGETS tenon_cli RUNTIME DESTINATION bin)
  # Called trtexec, it takes trtexec's command lines. A trtexec of another maker stays.
  add_custom_command(TARGET tenon_cli POST_BUILD COMMAND ${CMAKE_COMMAND} -E create_symlink tenon ${PROJECT_BINARY_DIR}/trtexec)
  install(CODE "
    set(link \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/bin/trtexec\")
    if(IS_SYMLINK \"\${link}\" OR NOT EXISTS \"\${link}\")
      file(CREATE_LINK tenon \"\${link}\" SYMBOLIC)
    endif()")
endfunction()
