/// The sub-command `annulus report`: tables and pictures of a scaling study. Needs no MPI.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "launch/command.hpp"
#include "launch/options.hpp"
#include "launch/study/pictures.hpp"
#include "runtime/checkpoint/replaced_file.hpp"

namespace annulus::launch {
namespace {

namespace fs = std::filesystem;

struct Arguments {
  std::string results;
  std::string folder;
};

std::unique_ptr<Options> declare(Arguments& arguments) {
  auto options = std::make_unique<Options>(
      "report RESULTS [options]",
      "Prints what annulus study measured, beside what was predicted, and writes the same with pictures into a "
      "folder:\n"
      "index.html (needs no other file), tables.txt, points.json, and each picture as .svg and .png. Pictures are "
      "drawn by\n"
      "python3 with matplotlib (ANNULUS_PYTHON names another interpreter); without it the tables are written alone.");
  options->positional("RESULTS", arguments.results);
  options->text("output", "FOLDER", arguments.folder,
                "where to write: a new folder, or one with an earlier report (default: RESULTS without .jsonl, and -report)");
  return options;
}

std::string help() {
  Arguments unused;
  return declare(unused)->help();
}

std::string default_folder(const std::string& results) {
  const fs::path path(results);  // other extensions stay: reports of a.x and a.y are two
  return (path.extension() == ".jsonl" ? fs::path(path).replace_extension() : path).string() + "-report";
}

void make_folder(const std::string& folder) {
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (!failure && fs::is_directory(folder, failure)) return;
  throw ResourceError(fmt::format("cannot make the folder '{}' ({}); try --output with another one", folder,
                                  failure ? failure.message() : "it is a file"));
}

/// Pictures and tables of something else are not replaced.
void check_is_ours(const std::string& folder) {
  std::error_code failure;
  if (!fs::is_directory(folder, failure) || fs::is_empty(folder, failure)) return;
  std::ifstream page(folder + "/index.html");
  std::string head(1024, '\0');
  page.read(head.data(), static_cast<std::streamsize>(head.size()));
  if (head.find(page_mark) != std::string::npos) return;
  throw UsageError(fmt::format("'{}' has files and no report (they could be overwritten); try --output with a new folder", folder));
}

void replace_file(const std::string& path, const std::string& text) {
  ReplacedFile file(path);
  file.append(text);
  file.commit();
}

std::string text_of(const Facts& facts, const std::vector<TitledTable>& tables) {
  std::string text = facts_text(facts);
  for (const TitledTable& titled : tables)
    text += fmt::format("\n{}\n{}\n\n{}", titled.title, titled.note, titled.table.text());
  return text;
}

void write_folder(const std::string& folder, const Study& study, const Facts& facts,
                  const std::vector<TitledTable>& tables) {
  make_folder(folder);
  const auto write_page = [&](const Drawing& drawing) {
    replace_file(folder + "/index.html", study_page(facts, drawing.pictures, tables, drawing.remark));
  };
  write_page({});  // the mark first; and a script that fails leaves the tables
  replace_file(folder + "/tables.txt", text_of(facts, tables));
  const Drawing drawing = draw_study(study, folder);
  write_page(drawing);
  fmt::print("\n{}written to {}/index.html\n", drawing.remark.empty() ? "" : drawing.remark + "\n", folder);
}

ExitCode report(std::span<const std::string> words) {
  Arguments arguments;
  declare(arguments)->parse(words);
  if (arguments.folder.empty()) arguments.folder = default_folder(arguments.results);
  check_is_ours(arguments.folder);
  const StudyContent content = read_study(arguments.results);
  const Study study = study_from(content, arguments.results);
  if (study.times.empty() && study.longest.empty()) {
    throw InputError(fmt::format("'{}' has no measured point yet (there is nothing to report); try annulus study first",
                                 arguments.results));
  }
  const Facts facts = study_facts(study, arguments.results);
  const std::vector<TitledTable> tables = study_tables(study);
  fmt::print("{}{}", content.note.empty() ? "" : content.note + "\n\n", text_of(facts, tables));
  write_folder(arguments.folder, study, facts, tables);
  return ExitCode::done;
}

}  // namespace

Command report_command() { return {"report", "tables and pictures of a scaling study", help, nullptr, report}; }

}  // namespace annulus::launch
