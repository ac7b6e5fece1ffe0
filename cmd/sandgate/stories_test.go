package main

import (
	"testing"
)

// TestStories plays testdata/script: each script names the requirements it
// proves in its first line.
func TestStories(t *testing.T) { scripts(t, "*.txtar") }
