package main

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/ledger/dossier"
)

func (a *app) evidenceStampCmd() *cobra.Command {
	var authority, out string
	c := &cobra.Command{
		Use:   "stamp FILE",
		Short: "请时间戳机构为证据加盖时间戳 · have an authority time-stamp evidence",
		Long: `向 RFC 3161 时间戳机构送交检查点的摘要（不送任何其他内容），把回执写入新文件。见证签名已带时间；时间戳是账本之外第三方的凭证。
Sends the digest of the file's checkpoint, and nothing else, to an RFC 3161 time-stamping authority, and writes the file
with its token. Cosignatures carry a time already; a time-stamp is the word of a party outside the ledger.`,
		Example: `  sandgate evidence stamp evidence.json --tsa http://tsa.example.cn/tsr --out stamped.json`,
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			data, err := readAtMost(args[0], dossier.MaxFile)
			if err != nil {
				return err
			}
			f, err := dossier.Parse(data)
			if err != nil {
				return err
			}
			query, nonce, err := f.StampRequest(rand.Reader)
			if err != nil {
				return err
			}
			reply, err := askAuthority(c, authority, query)
			if err != nil {
				return err
			}
			s, err := f.TakeStamp(reply, nonce)
			if err != nil {
				return err
			}
			text, err := f.Encode()
			if err != nil {
				return err
			}
			file, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return fmt.Errorf("failed to create evidence file: %w", err)
			}
			_, err = file.Write(text)
			if err = errors.Join(err, file.Close()); err != nil {
				return fmt.Errorf("failed to write evidence file: %w", err)
			}
			a.note("时间戳 %s，%s；已写入 %s", "time-stamp %s by %s; written to %s", s.At.Local().Format(time.DateTime), s.Authority, out)
			return nil
		},
	}
	c.Flags().StringVar(&authority, "tsa", "", "时间戳机构的地址 URL of the authority")
	c.Flags().StringVar(&out, "out", "", "新文件，不覆盖已有文件 new file, never overwritten")
	require(c, "tsa", "out")
	return c
}

// stampWait bounds the question to an authority.
const stampWait = 30 * time.Second

func askAuthority(c *cobra.Command, url string, query []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(c.Context(), http.MethodPost, url, bytes.NewReader(query))
	if err != nil {
		return nil, usageError{errors.New("--tsa is the URL of a time-stamping authority, http or https")}
	}
	req.Header.Set("Content-Type", "application/timestamp-query")
	resp, err := (&http.Client{Timeout: stampWait}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("failed to reach the time-stamping authority: %w", err)
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("failed to read the authority's reply: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the time-stamping authority answered status %d", resp.StatusCode)
	}
	return reply, nil
}

func readRoots(path string) (*x509.CertPool, error) {
	text, err := readAtMost(path, 1<<20)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, usageError{errors.New("--tsa-root is a file of PEM certificates")}
	}
	return pool, nil
}
