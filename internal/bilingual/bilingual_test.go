package bilingual

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"testing"
)

var texts = Book{
	"column %q of %q is gone": "数据集“%[2]s”没有列“%[1]s”",
	"document %d: %w":         "第 %d 份文件：%w",
	"nothing there":           "什么也没有",
	"EOF":                     "文件已到末尾",
}

func TestErrorsReadInBothLanguages(t *testing.T) {
	column := texts.Errorf("column %q of %q is gone", "a", "b")
	for _, x := range []struct {
		err    error
		zh, en string
	}{
		{column, "数据集“b”没有列“a”", `column "a" of "b" is gone`},
		{texts.Errorf("document %d: %w", 2, column), "第 2 份文件：数据集“b”没有列“a”", `document 2: column "a" of "b" is gone`},
		{texts.Errorf("document %d: %w", 2, io.EOF), "第 2 份文件：文件已到末尾", "document 2: EOF"},
		{texts.Errorf("document %d: %w", 2, io.ErrClosedPipe), "第 2 份文件：io: read/write on closed pipe", "document 2: io: read/write on closed pipe"},
		{errors.Join(texts.Errorf("nothing there"), column), "什么也没有；数据集“b”没有列“a”", "nothing there\ncolumn \"a\" of \"b\" is gone"},
		{texts.Errorf("nobody wrote the Chinese of %d", 1), "nobody wrote the Chinese of 1", "nobody wrote the Chinese of 1"},
		{Plain("甲 100%", "a 100%"), "甲 100%", "a 100%"},
		{io.EOF, "内容不完整", "EOF"},
		{&fs.PathError{Op: "open", Path: "a.yaml", Err: syscall.ENOENT}, "open a.yaml: 文件或目录不存在", "open a.yaml: no such file or directory"},
		{fmt.Errorf("failed to wait: %w", context.Canceled), "failed to wait: 已取消", "failed to wait: context canceled"},
		{texts.Errorf("document %d: %w", 2, context.DeadlineExceeded), "第 2 份文件：超过时限", "document 2: context deadline exceeded"},
		{fmt.Errorf("failed to look: %w", column), "failed to look: 数据集“b”没有列“a”", `failed to look: column "a" of "b" is gone`},
		{errors.New(`desc = "dial tcp: connection refused"`), `desc = "dial tcp: 连接被拒绝"`, `desc = "dial tcp: connection refused"`},
		{errors.New("aEOF"), "aEOF", "aEOF"},
	} {
		if got := Chinese(x.err); got != x.zh {
			t.Errorf("%q, want %q", got, x.zh)
		}
		if got := x.err.Error(); got != x.en {
			t.Errorf("%q, want %q", got, x.en)
		}
	}
}

func TestWrappedErrorsAreFound(t *testing.T) {
	err := texts.Errorf("document %d: %w", 1, texts.Errorf("document %d: %w", 2, io.EOF))
	if !errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		t.Error("what an error wraps is lost")
	}
	if texts.Errorf("nothing there").(*Error).Unwrap() != nil {
		t.Error("it wraps nothing")
	}
}
