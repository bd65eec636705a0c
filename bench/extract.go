package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// measureExtract compares unpacking an archive of a GiB, 2,000 files that have about two and
// a half times as much unpacked, with unzip: on all processors, and held to one.
func measureExtract(ctx context.Context, b *bench) (lines []line, err error) {
	for _, program := range []string{"unzip", "taskset"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%s is not installed (Debian and Ubuntu: apt-get install unzip util-linux)", program)
		}
	}
	if err := needSpace(b.dir, 6<<30); err != nil {
		return nil, err
	}
	zip := filepath.Join(b.dir, "extract.zip")
	if err := b.writeExports(zip); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(zip)) }()
	several, err := b.compareExtract(ctx, zip)
	if err != nil {
		return nil, err
	}
	one, err := b.compareExtract(ctx, zip, "taskset", "--cpu-list", "0")
	if err != nil {
		return nil, err
	}
	onOne := limited(extractLine("extract, 1 core", one), "≥ 1", one.ratio() >= 1)
	if runtime.NumCPU() == 1 {
		return []line{onOne}, nil
	}
	name := fmt.Sprintf("extract, %d cores", runtime.NumCPU())
	return []line{limited(extractLine(name, several), "> 1", several.ratio() > 1), onOne}, nil
}

func extractLine(name string, turns *rivals) line {
	return line{
		name: name, measured: fmt.Sprintf("%.0f MB/s", median(turns.ours)), against: fmt.Sprintf("unzip %.0f MB/s", median(turns.theirs)),
		ratio: fmt.Sprintf("%.2f", turns.ratio()),
	}
}

// writeExports writes the archive: exports of data, some fifty different ones.
func (b *bench) writeExports(path string) error {
	files := either(b, 2000, 250)
	const fileSize = 1_250_000 // packs to a 2,000th of a GiB
	blocks := make([]block, 50)
	for i := range blocks {
		var err error
		if blocks[i], err = csvBlock(fileSize, uint64(i)); err != nil {
			return err
		}
	}
	zip, err := newZip(files, blocks...)
	if err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = zip.WriteTo(file)
	b.logf("extract: %d files, %.2f GiB packed, %.2f unpacked", files, float64(zip.size)/(1<<30), float64(files)*fileSize/(1<<30))
	return errors.Join(err, file.Close())
}

// compareExtract has the two unpack in turns, each run under the program that prefix names, and
// returns the packed megabytes that each took in a second. The archive stays in memory, as one
// that has just been taken in. Ours forces what it wrote to disk before it ends and unzip does
// not, so a sync of the file system is added to unzip's time.
func (b *bench) compareExtract(ctx context.Context, zip string, prefix ...string) (*rivals, error) {
	info, err := os.Stat(zip)
	if err != nil {
		return nil, err
	}
	size := float64(info.Size()) / 1e6
	dir := filepath.Join(b.dir, "extracted")
	ours := slices.Concat(prefix, []string{b.self, peerCommand, "extract", zip, dir})
	unzip := slices.Concat(prefix, []string{"unzip", "-q", "-d", dir, zip})
	turns := &rivals{}
	for range either(b, 5, 1) {
		our, err := b.timeExtract(ctx, dir, func() error { return runQuietly(ctx, ours) })
		if err != nil {
			return nil, err
		}
		theirs, err := b.timeExtract(ctx, dir, func() error { return errors.Join(runQuietly(ctx, unzip), syncDisk(ctx, dir)) })
		if err != nil {
			return nil, err
		}
		turns.add(size/our.Seconds(), size/theirs.Seconds())
	}
	b.logf("extract %v: packed MB/s to unzip's: %s", prefix, turns.words())
	return turns, nil
}

// timeExtract times do on an empty folder, with nothing left to be written, and removes the folder.
func (b *bench) timeExtract(ctx context.Context, dir string, do func() error) (time.Duration, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	if err := syncDisk(ctx, dir); err != nil {
		return 0, err
	}
	began := time.Now()
	err := do()
	took := time.Since(began)
	return took, errors.Join(err, os.RemoveAll(dir))
}

// runQuietly runs a program and, when it fails, tells what it said.
func runQuietly(ctx context.Context, words []string) error {
	if out, err := command(ctx, words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", words, err, out)
	}
	return nil
}
