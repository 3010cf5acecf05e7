/// Whatever happened to a generation's files: all ranks skip it with a reason and load the one before.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <functional>
#include <iterator>

#include "runtime/checkpoint/generation_reader.hpp"
#include "tests/runtime/checkpoint/checkpoint_case.hpp"
#include "tests/runtime/checkpoint/plain_hdf5.hpp"

namespace annulus {
namespace {

namespace fs = std::filesystem;
using checkpoint::Manifest;
using test::CheckpointCase;

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

/// Gives a changed manifest the checksum that fits it, as a hostile hand would.
std::string signed_again(std::string text) {
  const auto at = text.rfind("\n  \"manifest_xxh64\"") + 1;
  const auto sum = checkpoint::checksum_of(std::as_bytes(std::span(text).first(at)));
  return text.substr(0, at) + "  \"manifest_xxh64\": \"" + checkpoint::hex(sum) + "\"\n}\n";
}

/// What happens to the newer generation: a change of its folder, and a part of the message that names it.
struct Damage {
  const char* name;
  std::function<void(const std::string& data, const std::string& manifest)> make;
  const char* said;
};

Damage in_data(const char* name, std::function<void(const std::string&)> change, const char* said) {
  return {name, [=](const std::string& data, const std::string&) { change(data); }, said};
}
Damage in_manifest(const char* name, std::function<void(const std::string&)> change, const char* said) {
  return {name, [=](const std::string&, const std::string& manifest) { change(manifest); }, said};
}
/// A file is gone and something else is in its place.
std::function<void(const std::string&)> instead(std::function<void(const std::string&)> make) {
  return [=](const std::string& path) {
    fs::remove(path);
    make(path);
  };
}
/// A manifest that is signed as it should be, with one text in it replaced.
Damage forged(const char* name, const std::string& from, const std::string& to, const char* said) {
  return in_manifest(
      name,
      [=](const std::string& path) {
        std::string text = content(path);
        const auto at = text.find(from);
        if (at == std::string::npos) throw std::runtime_error("no '" + from + "' to forge");
        write(path, signed_again(text.replace(at, from.size(), to)));
      },
      said);
}
/// One byte of a dataset is another one.
Damage flipped(const char* name, const std::string& dataset, std::int64_t at, const char* said) {
  return {name,
          [=](const std::string& data, const std::string& manifest) {
            const Manifest saved = checkpoint::parse_manifest(content(manifest), manifest);
            test::flip_byte(data, saved.find(dataset)->offset + static_cast<std::uint64_t>(at));
          },
          said};
}
std::string nested_objects(int levels) {
  std::string text;
  for (int i = 0; i < levels; ++i) text += "{\"a\":";
  return text + "0" + std::string(static_cast<std::size_t>(levels), '}');
}
void shorten(const std::string& path, std::uintmax_t by) { fs::resize_file(path, fs::file_size(path) - by); }

const std::vector<Damage> damages{
    in_data(
        "missing", [](const std::string& path) { fs::remove(path); }, "No such file"),
    in_data(
        "one_byte_short", [](const std::string& path) { shorten(path, 1); }, "bytes, its manifest says"),
    in_data(
        "half", [](const std::string& path) { shorten(path, fs::file_size(path) / 2); }, "manifest says"),
    in_data(
        "empty", [](const std::string& path) { fs::resize_file(path, 0); }, "has 0 bytes"),
    in_data(
        "one_byte_long", [](const std::string& path) { fs::resize_file(path, fs::file_size(path) + 1); }, "manifest"),
    in_data("zeros", instead([](const std::string& path) { write(path, ""), fs::resize_file(path, 6327296); }),
            "damaged"),
    in_data("directory", instead([](const std::string& path) { fs::create_directory(path); }), "no regular file"),
    in_data("pipe", instead([](const std::string& path) { mkfifo(path.c_str(), 0600); }), "no regular file"),
    in_data("link_to_itself", instead([](const std::string& path) { fs::create_symlink(path, path); }), "link"),
    in_data("link_elsewhere", instead([](const std::string& path) { fs::create_symlink("/etc/passwd", path); }),
            "link"),
    in_data(
        "flip_in_superblock", [](const std::string& path) { test::flip_byte(path, 9); }, "describe its tensors"),
    in_data(
        "flip_in_headers", [](const std::string& path) { test::flip_byte(path, 800); }, "describe its tensors"),
    flipped("flip_in_q", "layers/000003/q", 7, "/layers/000003/q"),
    flipped("flip_in_lse", "layers/000003/lse", 7, "/layers/000003/lse"),
    flipped("flip_in_x", "layers/000003/x", 0, "rows 0 to 407 of batch 0"),
    flipped("flip_at_the_end", "layers/000003/x", 2 * 1031 * 2560 - 1, "rows 1009 to 1030 of batch 1"),
    in_manifest(
        "no_manifest", [](const std::string& path) { fs::remove(path); }, "No such file"),
    in_manifest(
        "empty_manifest", [](const std::string& path) { fs::resize_file(path, 0); }, "no sound manifest"),
    in_manifest(
        "half_a_manifest", [](const std::string& path) { shorten(path, fs::file_size(path) / 2); }, "no sound"),
    in_manifest(
        "manifest_cut", [](const std::string& path) { shorten(path, 3); }, "no sound manifest"),
    in_manifest(
        "endless_manifest", [](const std::string& path) { fs::resize_file(path, 1LL << 40); }, "longer than"),
    in_manifest(
        "deep_manifest",
        [](const std::string& path) {
          std::string text;
          for (int i = 0; i < 1 << 18; ++i) text += "{\"a\":";
          write(path, text);
        },
        "nested deeper"),
    in_manifest(
        "lists_in_lists", [](const std::string& path) { write(path, std::string(1 << 20, '[')); }, "more lists"),
    in_manifest(
        "deep_objects", [](const std::string& path) { write(path, nested_objects(1000)); }, "nested deeper"),
    in_manifest(
        "manifest_of_members",
        [](const std::string& path) {
          std::string text = "{";
          for (int i = 0; i < 1 << 18; ++i) text += "\"k" + std::to_string(i) + "\":0,";
          write(path, text + "\"z\":0}");
        },
        "more members than manifests have"),
    in_manifest(
        "manifest_of_lists",
        [](const std::string& path) {
          std::string text = "{\"shape\":[";
          for (int i = 0; i < 1 << 20; ++i) text += "[],";
          write(path, text + "0]}");
        },
        "more lists than manifests have"),
    in_manifest(
        "manifest_of_numbers",
        [](const std::string& path) {
          std::string text = "{\"shape\":[";
          for (int i = 0; i < 1 << 20; ++i) text += "0,";
          write(path, text + "0]}");
        },
        "more extents than tensors have"),
    forged("last_sequence", "\"sequence\": ", "\"sequence\": 922337203685477580", "no checkpoint can follow it"),
    forged("speaks_to_the_terminal", "\"name\": \"/layers", "\"name\": \"/\\u001b[31mlayers", "'/?[31mlayers"),
    in_manifest(
        "manifest_is_a_list", [](const std::string& path) { write(path, "[1]"); }, "no sound manifest"),
    in_manifest("manifest_is_a_pipe", instead([](const std::string& path) { mkfifo(path.c_str(), 0600); }), "regular"),
    in_manifest("manifest_is_a_link", instead([](const std::string& path) { fs::create_symlink("/etc/passwd", path); }),
                "link"),
    forged("other_format", "annulus checkpoint", "annulus sandwich", "no checkpoint's manifest"),
    forged("newer_version", "\"format_version\": 1", "\"format_version\": 2", "format version 2, this program reads 1"),
    forged("not_complete", "\"complete\": true", "\"complete\": false", "not complete"),
    forged("other_step", "\"step\": 2", "\"step\": 3", "manifest of step 3"),
    forged("negative_step", "\"step\": 2", "\"step\": -2", "is no size"),
    forged("other_file", "activations.h5", "../../../etc/passwd", "another file"),
    forged("huge_file", "\"bytes\": 6327296", "\"bytes\": 9223372036854775807", "do not cover"),
    forged("huge_extent", "1031", "1000000000000000000", "63 bits"),
    forged("other_extent", "1031", "1032", "claims bytes outside"),
    forged("negative_extent", "1031", "-1031", "is no size"),
    forged("extent_beyond_63_bits", "1031", "18446744073709551615", "is no size"),
    forged("offset_outside", "\"offset\": 1048576", "\"offset\": 9000000", "claims bytes outside"),
    forged("overlap", "\"offset\": 1048576", "\"offset\": 4096", "claims bytes outside"),
    forged("huge_granules", "\"granule_rows\": 408", "\"granule_rows\": 4611686018427387904", "63 bits"),
    forged("no_granules", "\"granule_rows\": 408", "\"granule_rows\": 0", "granules"),
    forged("other_granules", "\"granule_rows\": 408", "\"granule_rows\": 205", "6 checksums for 11 granules"),
    forged("unknown_type", "\"dtype\": \"f32\"", "\"dtype\": \"f31\"", "unknown element type 'f31'"),
    forged("bad_name", "/layers/000003/x", "/layers/../x", "names a tensor"),
    forged("two_of_a_name", "/layers/000003/x", "/layers/000003/q", "twice"),
    forged("bad_checksum", "\"xxh64\": [\n        \"", "\"xxh64\": [\n        \"zz", "holds no checksums"),
    forged("terminal_codes", "\"created\": \"", "\"created\": \"\\u001b[2J", "no plain word"),
};

class Damaged : public testing::TestWithParam<Damage> {
 protected:
  void save(std::int64_t step) {
    CheckpointCase shards(layout_, comm_.rank());
    shards.fill(static_cast<std::uint64_t>(step));
    Checkpoint(comm_.raw(), path_).save({.step = step}, shards.saved());
  }
  void on_rank_0(const std::function<void()>& work) {
    comm_.barrier();
    if (comm_.rank() == 0) work();
    comm_.barrier();
  }

  Communicator comm_ = Communicator::duplicate(MPI_COMM_WORLD);
  test::SharedFolder folder_{comm_};
  std::string path_ = folder_ / "ckpt";
  std::string newer_ = path_ + "/step-000002";
  Layout layout_{LayoutKind::contiguous, 1031, comm_.size()};
  CheckpointCase found_{layout_, comm_.rank()};
};

TEST_P(Damaged, IsSkippedByAllWithAReason) {
  save(1);
  save(2);
  on_rank_0([&] { GetParam().make(newer_ + "/activations.h5", newer_ + "/manifest.json"); });
  const LoadReport report = Checkpoint(comm_.raw(), path_).load(found_.loaded());
  EXPECT_EQ(report.notes.step, 1);
  EXPECT_EQ(found_.wrong(1), 0);
  ASSERT_EQ(report.skipped.size(), 1U);
  EXPECT_NE(report.skipped[0].find(newer_), std::string::npos) << report.skipped[0];
  EXPECT_NE(report.skipped[0].find(GetParam().said), std::string::npos) << report.skipped[0];
  on_rank_0([&] { fs::remove_all(path_ + "/step-000001"); });
  try {
    Checkpoint(comm_.raw(), path_).load(found_.loaded());
    ADD_FAILURE() << "it was loaded";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().said), std::string::npos) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(Files, Damaged, testing::ValuesIn(damages),
                         [](const auto& tested) { return std::string(tested.param.name); });

class DamagedCheckpoint : public Damaged {};

TEST_F(DamagedCheckpoint, NoBitOfAManifestCanChangeUnseen) {
  save(1);
  const std::string path = path_ + "/step-000001/manifest.json";
  const std::string text = content(path);
  if (comm_.rank() != 0) return;
  for (std::size_t at = 0; at < text.size() - 2; ++at) {  // the last two are "}" and an end of line
    std::string changed = text;
    changed[at] = static_cast<char>(changed[at] ^ (1 << at % 7));
    EXPECT_THROW(checkpoint::parse_manifest(changed, path), InputError) << "byte " << at;
  }
}

TEST_F(DamagedCheckpoint, DoesNotHideThatAnotherShapeIsWanted) {
  save(1);
  const auto refusal = [&](const LoadedShard& shard) {
    try {
      Checkpoint(comm_.raw(), path_).load({&shard, 1});
    } catch (const DamagedCheckpointError& error) {
      ADD_FAILURE() << "a wrong wish is no damage: " << error.what();
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string("loaded");
  };
  const TensorView x = found_.x();
  TensorView half = x;
  half.dtype = DType::bf16;
  TensorView wide = x;
  wide.head_dim = 641;
  const Layout longer(LayoutKind::contiguous, 1031 + comm_.size(), comm_.size());
  TensorView more = x;
  more.rows = longer.rows(comm_.rank());
  EXPECT_NE(refusal({"layers/000003/x", layout_, half}).find("is f32 of shape [2, 1031, 640], wanted is bf16"),
            std::string::npos);
  EXPECT_NE(refusal({"layers/000003/x", layout_, wide}).find("641"), std::string::npos);
  EXPECT_NE(refusal({"layers/000003/x", longer, more}).find("wanted is"), std::string::npos);
  EXPECT_NE(refusal({"layers/000004/x", layout_, x}).find("has no tensor /layers/000004/x"), std::string::npos);
  const RowStats stats = dense_stats(reinterpret_cast<float*>(x.data), 2, 640, x.rows);
  EXPECT_NE(refusal({"layers/000003/x", layout_, stats}).find("wanted is"), std::string::npos);
}

/// All damages that a complete look finds.
std::vector<std::string> damage_in(const Communicator& comm, const std::string& path) {
  const auto found = checkpoint::find_together(comm, path);
  return checkpoint::GenerationReader(comm, found.at(0)).find_damage(100);
}

TEST_F(DamagedCheckpoint, IsDescribedGranuleByGranule) {
  save(2);
  EXPECT_TRUE(damage_in(comm_, newer_).empty());
  on_rank_0([&] {
    for (const Damage& damage : {flipped("", "layers/000003/q", 50, ""), flipped("", "layers/000003/x", 408 * 2560, ""),
                                 flipped("", "layers/000003/x", 2 * 1031 * 2560 - 1, "")}) {
      damage.make(newer_ + "/activations.h5", newer_ + "/manifest.json");
    }
  });
  const auto lines = damage_in(comm_, newer_);
  if (comm_.rank() != 0) return;
  ASSERT_EQ(lines.size(), 3U);
  const auto said = [&](const std::string& text) {
    return std::any_of(lines.begin(), lines.end(), [&](const auto& line) { return line.find(text) != line.npos; });
  };
  EXPECT_TRUE(said("/layers/000003/q"));
  EXPECT_TRUE(said("rows 408 to 815 of batch 0 (bytes 2093056 to 3137535 of the file)"));
  EXPECT_TRUE(said("rows 1009 to 1030 of batch 1"));
}

/// Signs a data file that was changed through HDF5, as a hostile hand would.
void sign_data(const std::string& generation) {
  const std::string path = generation + "/manifest.json";
  Manifest manifest = checkpoint::parse_manifest(content(path), path);
  const std::string data = content(generation + "/activations.h5");
  manifest.file_bytes = data.size();
  manifest.metadata = checkpoint::metadata_between(manifest.datasets, data.size());
  for (auto& piece : manifest.metadata) {
    piece.checksum = checkpoint::checksum_of(std::as_bytes(std::span(data).subspan(piece.offset, piece.bytes)));
  }
  write(path, checkpoint::to_text(manifest));
}

TEST_F(DamagedCheckpoint, LeadsToNoOtherFile) {
  const std::vector<std::function<void(const std::string&)>> replacements{
      [](const std::string& data) { test::add_soft_link(data, "layers/000003/x", "/layers/000003/q"); },
      [](const std::string& data) { test::add_soft_link(data, "layers/000003/x", "/layers/000003/x"); },
      [](const std::string& data) { test::add_external_link(data, "layers/000003/x", "/etc/passwd", "/x"); }};
  for (const auto& replace : replacements) {
    save(2);
    on_rank_0([&] {
      test::rename_dataset(newer_ + "/activations.h5", "layers/000003/x", "kept");
      replace(newer_ + "/activations.h5");
      sign_data(newer_);
    });
    const auto lines = damage_in(comm_, newer_);
    if (comm_.rank() == 0) {
      EXPECT_EQ(lines.size(), 1U);
      for (const std::string& line : lines)
        EXPECT_NE(line.find("is a link to somewhere else"), std::string::npos) << line;
    }
    Checkpoint(comm_.raw(), path_).load(found_.loaded());
    EXPECT_EQ(found_.wrong(2), 0) << "loading reads what was saved, whatever HDF5 would see";
  }
}

}  // namespace
}  // namespace annulus
