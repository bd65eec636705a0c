package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// measureMemory measures the most resident memory that longhaul has while it takes in an archive
// of 10 GB and unpacks it. The kernel keeps count (VmHWM), so nothing is missed.
func measureMemory(ctx context.Context, b *bench) (lines []line, err error) {
	const blockSize = 8 << 20
	packed := either(b, int64(10_000_000_000), 1_000_000_000)
	if err := needSpace(b.dir, 2*packed+packed/2); err != nil {
		return nil, err
	}
	// Most entries are stored, so that the disk must hold little more than twice the archive; every
	// tenth is deflated, so that inflating counts as well.
	deflated, err := csvBlock(blockSize, 1)
	if err != nil {
		return nil, err
	}
	stored := randomBlock(blockSize)
	turns := []block{deflated, stored, stored, stored, stored, stored, stored, stored, stored, stored}
	perTurn := int64(len(deflated.packed)) + 9*blockSize
	zip, err := newZip(int(packed/perTurn+1)*len(turns), turns...)
	if err != nil {
		return nil, err
	}
	s, err := b.serve(ctx, "memory")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	before, err := peakMemory(s.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	took, id, err := s.upload(ctx, zip)
	if err != nil {
		return nil, err
	}
	taken, err := peakMemory(s.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	if err := s.waitUnpacked(ctx, id); err != nil {
		return nil, err
	}
	peak, err := peakMemory(s.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	b.logf("memory: %.1f GB were taken in within %s and unpacked %s later; most memory at the start %d MB, then %d MB, %d MB",
		float64(zip.size)/1e9, took.Round(time.Second), (time.Since(began) - took).Round(time.Second), before/1e6, taken/1e6, peak/1e6)
	l := line{name: "memory", measured: fmt.Sprintf("%.0f MB", float64(peak)/1e6), against: fmt.Sprintf("an archive of %.1f GB", float64(zip.size)/1e9)}
	return []line{limited(l, "< 150 MB", peak < 150_000_000)}, nil
}
