package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"filippo.io/age"
)

// minPassphrase is the shortest passphrase in bytes.
const minPassphrase = 12

// passphrase reads the first line of a file that only its owner may read.
func passphrase(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("failed to find the passphrase: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s can be read by others; run: chmod 600 %s", file, file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("failed to read the passphrase: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimRight(line, "\r"); len(line) < minPassphrase {
		return "", fmt.Errorf("a passphrase has at least %d bytes", minPassphrase)
	}
	return line, nil
}

// Recipients reads age recipients, or with a passphrase file the key of the
// directory of backups, which is made and encrypted to the passphrase at first use:
// stretching a passphrase takes seconds and is done once, not for every object.
func Recipients(location string, recipients []string, passphraseFile string) ([]age.Recipient, error) {
	var out []age.Recipient
	for _, text := range recipients {
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not an age recipient (age1…)", text)
		}
		out = append(out, r)
	}
	if passphraseFile == "" {
		return out, nil
	}
	at, err := open(location)
	if err != nil {
		return nil, err
	}
	id, err := directoryKey(at, passphraseFile)
	if errors.Is(err, fs.ErrNotExist) {
		id, err = newDirectoryKey(at, passphraseFile)
	}
	if err != nil {
		return nil, err
	}
	return append(out, id.Recipient()), nil
}

// Identities reads an age identity file, or the directory's key by its passphrase.
func Identities(location, identityFile, passphraseFile string) ([]age.Identity, error) {
	switch {
	case identityFile != "" && passphraseFile == "":
		text, err := os.ReadFile(identityFile)
		if err != nil {
			return nil, fmt.Errorf("failed to read the identity: %w", err)
		}
		ids, err := age.ParseIdentities(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("%s is not an age identity file", identityFile)
		}
		return ids, nil
	case passphraseFile != "" && identityFile == "":
		at, err := open(location)
		if err != nil {
			return nil, err
		}
		id, err := directoryKey(at, passphraseFile)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s was not made with a passphrase: name an identity file", at)
		}
		return []age.Identity{id}, err
	}
	return nil, errors.New("name either an identity file or a passphrase file")
}

func directoryKey(at store, passphraseFile string) (*age.X25519Identity, error) {
	pass, err := passphrase(passphraseFile)
	if err != nil {
		return nil, err
	}
	f, err := at.get(context.Background(), keyFile)
	if err != nil {
		return nil, fmt.Errorf("failed to open the key of the backups: %w", err)
	}
	defer f.Close()
	by, err := age.NewScryptIdentity(pass)
	if err != nil {
		return nil, fmt.Errorf("failed to use the passphrase: %w", err)
	}
	r, err := age.Decrypt(f, by)
	if err != nil {
		return nil, errors.New("the passphrase does not open the backups, or their key was changed")
	}
	text, err := io.ReadAll(io.LimitReader(r, 1<<10))
	if err != nil {
		return nil, errors.New("the key of the backups is damaged")
	}
	id, err := age.ParseX25519Identity(string(text))
	if err != nil {
		return nil, errors.New("the key of the backups is damaged")
	}
	return id, nil
}

func newDirectoryKey(at store, passphraseFile string) (*age.X25519Identity, error) {
	// Backups that are there are encrypted to another key; one of them alone would
	// look as if it opened all.
	if names, err := backups(context.Background(), at); err == nil && len(names) > 0 {
		return nil, fmt.Errorf("%s holds backups that were made without a passphrase; use another place", at)
	}
	pass, err := passphrase(passphraseFile)
	if err != nil {
		return nil, err
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("failed to draw a key: %w", err)
	}
	to, err := age.NewScryptRecipient(pass)
	if err != nil {
		return nil, fmt.Errorf("failed to use the passphrase: %w", err)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err == nil {
		if _, err = io.WriteString(w, id.String()); err == nil {
			err = w.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("failed to encrypt the key of the backups: %w", err)
	}
	return id, at.put(context.Background(), keyFile, out.Bytes())
}
