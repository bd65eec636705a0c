package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of times in /proc; the kernel's USER_HZ is 100 on every architecture that
// Go runs on.
const tick = 10 * time.Millisecond

// process is what /proc/PID/stat says of a process, as far as it matters here.
type process struct {
	parent int
	name   string
	cpu    time.Duration // its own, and that of its children that have ended
}

// processes returns all that run, by their id.
func processes() (map[int]process, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	found := make(map[int]process, len(files))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended since
		}
		if err != nil {
			return nil, err
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		if found[pid], err = parseStat(string(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	if len(found) == 0 {
		return nil, errors.New("no processes in /proc; this is measured on Linux only")
	}
	return found, nil
}

// parseStat reads a line of /proc/PID/stat; proc(5) numbers its fields.
func parseStat(text string) (process, error) {
	open, closed := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || closed < open {
		return process{}, fmt.Errorf("no name in %q", text)
	}
	p := process{name: text[open+1 : closed]}
	fields := strings.Fields(text[closed+1:]) // from field 3 on
	if len(fields) < 15 {
		return process{}, fmt.Errorf("too few fields in %q", text)
	}
	var err error
	if p.parent, err = strconv.Atoi(fields[4-3]); err != nil {
		return process{}, err
	}
	for _, field := range fields[14-3 : 18-3] { // utime, stime, cutime, cstime
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return process{}, err
		}
		p.cpu += time.Duration(ticks) * tick
	}
	return p, nil
}

// treeCPU is the processor time that a process and all below it have used, and how many of them
// there are of each name.
func treeCPU(root int) (time.Duration, map[string]int, error) {
	all, err := processes()
	if err != nil {
		return 0, nil, err
	}
	var cpu time.Duration
	names := make(map[string]int)
	for pid, p := range all {
		for at := pid; at != 0; at = all[at].parent {
			if at == root {
				cpu += p.cpu
				names[p.name]++
				break
			}
		}
	}
	return cpu, names, nil
}

// watchOthers returns a function that tells how many processors were busy on average, since it
// was made, with other things than this process and those below it.
func watchOthers() (func() (float64, error), error) {
	began := time.Now()
	before, err := othersCPU()
	return func() (float64, error) {
		now, err := othersCPU()
		return max(0, (now-before).Seconds()/time.Since(began).Seconds()), err
	}, err
}

// othersCPU is the processor time of the machine without this process and those below it.
func othersCPU() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	var cpu time.Duration
	for i, field := range strings.Fields(after(text, "cpu ")) {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		// idle, iowait, and guest and guest_nice, which are in user and nice; see proc(5).
		if i != 3 && i != 4 && i < 8 {
			cpu += time.Duration(ticks) * tick
		}
	}
	ours, _, err := treeCPU(os.Getpid())
	return cpu - ours, err
}

// peakMemory is the most resident memory that a process has had, in bytes.
func peakMemory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	value := after(text, "VmHWM:")
	kib, err := strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("VmHWM of process %d: %w", pid, err)
	}
	return kib << 10, nil
}

// after returns the rest of the first line that begins with prefix, trimmed.
func after(text []byte, prefix string) string {
	for scanner := bufio.NewScanner(bytes.NewReader(text)); scanner.Scan(); {
		if rest, ok := strings.CutPrefix(scanner.Text(), prefix); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// tmpfsMagic is the type of a file system in memory; see statfs(2).
const tmpfsMagic = 0x01021994

// onDisk refuses a folder that lies in memory: nothing would be durable, and everything fast.
func onDisk(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("%s: %w; choose another folder with -dir", dir, err)
	}
	if runtime.GOOS == "linux" && st.Type == tmpfsMagic {
		return fmt.Errorf("%s is in memory; choose a folder on disk with -dir", dir)
	}
	return nil
}

// needSpace refuses to begin when the disk of dir has less free than this.
func needSpace(dir string, bytes int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	free := int64(st.Bavail) * st.Bsize
	if free < bytes {
		return fmt.Errorf("needs %d GB of free disk and there are %d; choose another disk with -dir", bytes/1e9, free/1e9)
	}
	return nil
}

// about says when and on what is measured.
func about(dir string, quick bool) string {
	read := func(path string) []byte {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil // then it is not told
		}
		return text
	}
	_, model, _ := strings.Cut(after(read("/proc/cpuinfo"), "model name"), ": ")
	kind := "A full run"
	if quick {
		kind = "A quick run, whose figures mean little,"
	}
	return fmt.Sprintf("%s on %s: %d × %s, %s memory, %s, Linux %s, %s, data in %s.",
		kind, time.Now().Format("2006-01-02"), runtime.NumCPU(), strings.TrimSpace(model),
		after(read("/proc/meminfo"), "MemTotal:"), strings.Trim(after(read("/etc/os-release"), "PRETTY_NAME="), `"`),
		bytes.TrimSpace(read("/proc/sys/kernel/osrelease")), runtime.Version(), dir)
}
