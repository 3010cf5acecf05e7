/// Boost.Program_options behind our own checks and messages.
// SPDX-License-Identifier: Apache-2.0
#include "launch/options.hpp"

#include <fmt/format.h>

#include <boost/program_options.hpp>
#include <map>
#include <set>
#include <sstream>
#include <vector>

#include "kernels/base/error.hpp"
#include "launch/numbers.hpp"

namespace annulus::launch {
namespace po = boost::program_options;

struct Options::Impl {
  struct Positional {
    std::string placeholder;
    std::string* target;
  };
  std::string usage;
  std::string summary;
  po::options_description shown{"Options", 120};
  po::options_description later;
  std::set<std::string> later_names;
  std::map<std::string, std::function<void()>> flags;
  std::map<std::string, Setter> setters;
  std::vector<Positional> positionals;

  void flag(const std::string& name, std::function<void()> set, const std::string& help) {
    shown.add_options()(name.c_str(), help.c_str());
    flags[name] = std::move(set);
  }
  std::vector<po::option> scan(std::span<const std::string> arguments) const;
  void set(const po::option& found) const;
};

Options::Options(std::string usage, std::string summary) : impl_(std::make_unique<Impl>()) {
  impl_->usage = std::move(usage);
  impl_->summary = std::move(summary);
}

Options::~Options() = default;

void Options::flag(const std::string& name, bool& target, const std::string& help) {
  impl_->flag(
      name, [&target] { target = true; }, help);
}

void Options::flag_off(const std::string& name, bool& target, const std::string& help) {
  impl_->flag(
      name, [&target] { target = false; }, help);
}

void Options::value(const std::string& name, const std::string& placeholder, Setter set, const std::string& help) {
  impl_->shown.add_options()(name.c_str(), po::value<std::string>()->value_name(placeholder), help.c_str());
  impl_->setters[name] = std::move(set);
}

void Options::text(const std::string& name, const std::string& placeholder, std::string& target,
                   const std::string& help) {
  value(
      name, placeholder, [&target](const std::string& word) { target = word; }, help);
}

void Options::size(const std::string& name, const std::string& placeholder, std::int64_t& target, std::int64_t min,
                   const std::string& help) {
  value(
      name, placeholder,
      [&target, min, option = "--" + name](const std::string& word) { target = parse_size(option, word, min); }, help);
}

void Options::sizes(const std::string& name, const std::string& placeholder, std::vector<std::int64_t>& target,
                    std::int64_t min, const std::string& help) {
  value(
      name, placeholder,
      [&target, min, option = "--" + name](const std::string& words) { target = parse_sizes(option, words, min); }, help);
}

void Options::real(const std::string& name, const std::string& placeholder, std::optional<double>& target, double min,
                   double max, const std::string& help) {
  value(
      name, placeholder,
      [&target, min, max, option = "--" + name](const std::string& word) {
        target = parse_real(option, word, min, max);
      },
      help);
}

void Options::positional(const std::string& placeholder, std::string& target) {
  impl_->positionals.push_back({placeholder, &target});
}

void Options::later(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    impl_->later.add_options()(name, po::value<std::string>()->implicit_value(""), "");
    impl_->later_names.insert(name);
  }
}

std::vector<po::option> Options::Impl::scan(std::span<const std::string> arguments) const {
  namespace style = po::command_line_style;
  po::options_description all;
  all.add(shown).add(later);
  try {
    return po::command_line_parser({arguments.begin(), arguments.end()})
        .options(all)
        .style(style::allow_long | style::long_allow_adjacent | style::long_allow_next)
        .run()
        .options;
  } catch (const po::error& error) {
    throw UsageError(fmt::format("{} (nothing was done); see --help", error.what()));
  }
}

void Options::Impl::set(const po::option& found) const {
  const std::string option = "--" + found.string_key;
  if (later_names.contains(found.string_key)) {
    throw UsageError(option + " is not supported yet (this version would have to ignore it); try without it");
  }
  if (const auto flag = flags.find(found.string_key); flag != flags.end()) {
    flag->second();
    return;
  }
  const std::string& text = found.value.at(0);
  if (text.empty()) throw UsageError(option + " has an empty value (nothing to work with); see --help");
  setters.at(found.string_key)(text);
}

void Options::parse(std::span<const std::string> arguments) {
  std::set<std::string> seen;
  std::size_t placed = 0;
  for (const po::option& found : impl_->scan(arguments)) {
    if (found.position_key >= 0) {
      const std::string& word = found.value.at(0);
      if (word.starts_with("-")) throw UsageError(fmt::format("unknown option '{}'; see --help", word));
      if (placed == impl_->positionals.size() || word.empty()) {
        throw UsageError(fmt::format("unexpected argument '{}'; usage: annulus {}", word, impl_->usage));
      }
      *impl_->positionals[placed++].target = word;
    } else if (!seen.insert(found.string_key).second) {
      throw UsageError(fmt::format("--{0} is given twice (which one counts?); try one --{0}", found.string_key));
    } else {
      impl_->set(found);
    }
  }
  if (placed < impl_->positionals.size()) {
    throw UsageError(
        fmt::format("{} is missing; usage: annulus {}", impl_->positionals[placed].placeholder, impl_->usage));
  }
}

std::vector<Options::Given> Options::given(std::span<const std::string> arguments) const {
  std::vector<Given> found;
  for (const po::option& option : impl_->scan(arguments)) {
    if (option.position_key >= 0) continue;
    const bool is_flag = impl_->flags.contains(option.string_key);
    found.push_back({option.string_key, is_flag || option.value.empty() ? "" : option.value[0], is_flag});
  }
  return found;
}

std::string Options::help() const {
  std::ostringstream listed;
  listed << impl_->shown;
  return fmt::format("Usage: annulus {}\n\n{}\n\n{}", impl_->usage, impl_->summary, listed.str());
}

}  // namespace annulus::launch
