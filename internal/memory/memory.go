// Package memory says how much memory there is to take.
package memory

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Available is what this process could take without pushing others out, in
// bytes: the machine's MemAvailable, or less where a control group says so.
func Available() (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("failed to read available memory: %w", err)
	}
	defer f.Close()
	available := int64(-1)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "MemAvailable:"); ok {
			if kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 43); err == nil {
				available = kib << 10
			}
		}
	}
	if available <= 0 {
		return 0, errors.New("failed to read available memory: the kernel names none")
	}
	return min(available, groupMemory(available)), nil
}

// groupMemory is what the memory limits of this process's control group and its
// parents (version 2) leave, or limit where there is none. In a container the group is
// often shown as the root, and the limit stands there; a machine's own root has none.
func groupMemory(limit int64) int64 {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return limit
	}
	for line := range strings.Lines(string(text)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		for ok && group != "." {
			dir := filepath.Join("/sys/fs/cgroup", group)
			most, err := readNumber(filepath.Join(dir, "memory.max"))
			used, errUsed := readNumber(filepath.Join(dir, "memory.current"))
			if err == nil && errUsed == nil {
				limit = min(limit, max(most-used, 1))
			}
			if group == "/" {
				break
			}
			group = filepath.Dir(group)
		}
	}
	return limit
}

func readNumber(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}
