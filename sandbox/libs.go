package sandbox

import (
	"bufio"
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
)

// sharedLibraries lists what a dynamically linked executable needs in an
// otherwise empty root, as "source=target". When path is the running executable
// its mapped files are exactly that list; a static executable needs none.
func sharedLibraries(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	loader := ""
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			raw := make([]byte, p.Filesz)
			if _, err := p.ReadAt(raw, 0); err != nil {
				return nil, err
			}
			loader = strings.TrimRight(string(raw), "\x00")
		}
	}
	if loader == "" {
		return nil, nil
	}
	real, err := filepath.EvalSymlinks(loader)
	if err != nil {
		return nil, err
	}
	libs := []string{real + "=" + loader}
	queue, seen := []string{path}, map[string]bool{filepath.Base(loader): true}
	dirs, err := libraryDirs()
	if err != nil {
		return nil, err
	}
	for len(queue) > 0 {
		needed, err := imported(queue[0])
		if err != nil {
			return nil, err
		}
		queue = queue[1:]
		for _, name := range needed {
			if seen[name] {
				continue
			}
			seen[name] = true
			for _, dir := range dirs {
				target := filepath.Join(dir, name)
				source, err := filepath.EvalSymlinks(target)
				if err != nil {
					continue
				}
				libs = append(libs, source+"="+target)
				queue = append(queue, source)
				break
			}
		}
	}
	return libs, nil
}

func imported(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ImportedLibraries()
}

// libraryDirs are the loader's built-in directories and those the running
// process has libraries mapped from.
func libraryDirs() ([]string, error) {
	dirs := []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		if at := strings.IndexByte(lines.Text(), '/'); at >= 0 && strings.Contains(lines.Text(), ".so") {
			dirs = append(dirs, filepath.Dir(lines.Text()[at:]))
		}
	}
	return dirs, lines.Err()
}
