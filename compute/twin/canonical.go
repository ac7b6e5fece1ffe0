package twin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
)

// kept is what is kept as one line of canonical JSON that ends with the digest of the
// rest.
type kept interface {
	check() error
	Digest() (string, error)
	// with is the document with a digest, or without one if it is empty.
	with(digest string) any
}

func digestOf(format string, k kept) (string, error) {
	text, err := json.Marshal(k.with(""))
	if err != nil {
		return "", fmt.Errorf("failed to encode %s: %w", format, err)
	}
	sum := sha256.Sum256(append([]byte(format+"\n"), text...))
	return hex.EncodeToString(sum[:]), nil
}

func encode(k kept) ([]byte, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	digest, err := k.Digest()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(k.with(digest))
	if err != nil {
		return nil, fmt.Errorf("failed to encode a document: %w", err)
	}
	if len(text) >= MaxFile {
		return nil, badFile("文件过大", "it is too large")
	}
	return append(text, '\n'), nil
}

// parse reads text into a document, of which k and digest are parts, and takes the
// canonical encoding alone.
func parse(text []byte, document any, k kept, digest *string) error {
	if len(text) > MaxFile {
		return badFile("文件过大", "it is too large")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(document); err != nil {
		return badFile("不是规定的 JSON，或有未知字段", "it is not the JSON laid down, or has an unknown field")
	}
	if _, err := dec.Token(); err != io.EOF {
		return badFile("文件尾部有多余内容", "something follows the document")
	}
	again, err := encode(k)
	if err != nil {
		return err
	}
	if is, _ := k.Digest(); is != *digest {
		return badFile("摘要不符，文件已被改动", "the digest does not fit: the file was changed")
	}
	if !bytes.Equal(again, text) {
		return badFile("不是规范写法", "it is not spelled canonically")
	}
	return nil
}
