package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"longhaul/storage"
)

// secretText is a setting that is not to be seen; it prints as nothing else.
type secretText string

const hidden = "[secret]"

// String keeps the setting out of messages.
func (secretText) String() string { return hidden }

// GoString is for %#v.
func (secretText) GoString() string { return hidden }

// MarshalText is for JSON and log/slog.
func (secretText) MarshalText() ([]byte, error) { return []byte(hidden), nil } //nolint:unparam // encoding.TextMarshaler has it so

// keySettings say where the key is that stored secrets are sealed with; the commands that open
// them share it.
type keySettings struct {
	SecretKey     secretText `env:"LONGHAUL_SECRET_KEY" placeholder:"KEY" help:"Encrypts stored credentials; at least 32 characters. Default: the key file."`
	SecretKeyOld  secretText `env:"LONGHAUL_SECRET_KEY_OLD" placeholder:"KEY" help:"The key before, which still decrypts until rotate-key has run."`
	SecretKeyFile string     `env:"LONGHAUL_SECRET_KEY_FILE" placeholder:"FILE" help:"File with the key. Default: secret-key in the data folder, made at the first start."`
}

// validateKeys reports what is wrong with the settings together.
func (k *keySettings) validateKeys() error {
	switch {
	case k.SecretKey != "" && k.SecretKeyFile != "":
		return errors.New("LONGHAUL_SECRET_KEY and LONGHAUL_SECRET_KEY_FILE are both set; give one of them")
	case k.SecretKey == "" && k.SecretKeyOld != "":
		return errors.New("LONGHAUL_SECRET_KEY_OLD is set without LONGHAUL_SECRET_KEY; where the key is in a file, the old one is the line below the new one")
	}
	return nil
}

// keyFile is the path of the key file.
func (k *keySettings) keyFile(data string) string {
	return cmp.Or(k.SecretKeyFile, filepath.Join(data, "secret-key"))
}

// sealer returns the keys, made at the first start, once it is sure that they are this database's.
func (k *keySettings) sealer(ctx context.Context, data string, q storage.Querier) (*storage.Sealer, error) {
	sealer, err := k.open(ctx, data, q)
	if err != nil {
		return nil, err
	}
	return sealer, storage.CheckKey(ctx, q, sealer)
}

func (k *keySettings) open(ctx context.Context, data string, q storage.Querier) (*storage.Sealer, error) {
	if err := k.validateKeys(); err != nil {
		return nil, err
	}
	if k.SecretKey != "" {
		return k.given()
	}
	path := k.keyFile(data)
	sealer, err := storage.FollowKeyFile(path)
	if !errors.Is(err, fs.ErrNotExist) || k.SecretKeyFile != "" {
		return sealer, err
	}
	sealed, err := storage.AnySealed(ctx, q)
	if err != nil {
		return nil, err
	}
	if sealed {
		return nil, fmt.Errorf("the key file %s is missing, and there are secrets in the database that only its key opens: "+
			"restore it from a backup, or give the key as LONGHAUL_SECRET_KEY. If it is lost, docs/operations.md says how to begin with a new one", path)
	}
	if err := storage.MakeKeyFile(path); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return storage.FollowKeyFile(path)
}

// given makes a Sealer of the keys in the settings.
func (k *keySettings) given() (*storage.Sealer, error) {
	var old []string
	if k.SecretKeyOld != "" {
		old = append(old, string(k.SecretKeyOld))
	}
	sealer, err := storage.NewSealer(string(k.SecretKey), old...)
	if err != nil {
		return nil, fmt.Errorf("LONGHAUL_SECRET_KEY: %w", err)
	}
	return sealer, nil
}
