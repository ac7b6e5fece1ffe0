package masking

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
)

// Context is what a key of pseudonyms is for. Whoever sees the pseudonyms of two
// contexts cannot tell which of them stand for one value.
type Context struct {
	Dataset   string
	Agreement string // licence or operating agreement; empty: every agreement
	Purpose   string // empty: every purpose
}

// ContextKey derives the pseudonym key of a context from a secret master key of at
// least 32 bytes: HKDF-SHA-256 (RFC 5869) whose info names each part of the context
// with its length in front, so that no two contexts share a key. The data set must
// be named: pseudonyms of two data sets never join by default.
func ContextKey(master []byte, c Context) ([]byte, error) {
	if len(master) < sha256.Size {
		return nil, texts.Errorf("failed to derive pseudonym key: the master key has fewer than %d bytes", sha256.Size)
	}
	if c.Dataset == "" {
		return nil, texts.Errorf("failed to derive pseudonym key: the context names no data set")
	}
	info := []byte("sandgate/masking/context/v1\n")
	for _, part := range []string{c.Dataset, c.Agreement, c.Purpose} {
		info = append(binary.BigEndian.AppendUint32(info, uint32(len(part))), part...)
	}
	key, err := hkdf.Expand(sha256.New, master, string(info), sha256.Size)
	if err != nil {
		return nil, texts.Errorf("failed to derive pseudonym key: %w", err)
	}
	return key, nil
}
