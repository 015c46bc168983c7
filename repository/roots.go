package repository

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/pgark/pgark/storage"
)

const (
	// rootsDepth is how many folders below a place repositories are looked for, mostRoots how many are found, and rootsSteps how many lists that takes at most.
	rootsDepth = 4
	mostRoots  = 256
	rootsSteps = 1024
)

// Roots returns the folders in a store that are roots of repositories, in the order of their names; "" where the store itself is one. It reads no repository: it
// takes a list and a few requests for each, and passes over what lies in it. more says that there may be further ones, because there are very many folders.
func Roots(ctx context.Context, store storage.Store) (roots []string, more bool, err error) {
	has := func(folder string) (bool, error) {
		_, err := store.Stat(ctx, storage.Key(strings.TrimPrefix(folder+"/"+string(markerKey), "/")))
		if errors.Is(err, storage.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
	defer func() { slices.Sort(roots) }()
	if whole, err := has(""); whole || err != nil {
		return []string{""}, false, err
	}
	none := map[string]bool{} // folders that are no roots
	var after storage.Key
	for range rootsSteps {
		key, there, err := firstAfter(ctx, store, after)
		if err != nil || !there {
			return roots, false, err
		}
		names := strings.Split(string(key), "/")
		names = names[:min(len(names)-1, rootsDepth)]
		after = key
		for depth := 1; depth <= len(names); depth++ {
			folder := strings.Join(names[:depth], "/")
			after = behind(folder)
			if none[folder] {
				continue
			}
			root, err := has(folder)
			if err != nil {
				return roots, false, err
			}
			if none[folder] = !root; root {
				roots = append(roots, folder)
				break
			}
		}
		if len(roots) == mostRoots {
			return roots, true, nil
		}
	}
	return roots, true, nil
}

// behind is a key behind all that lie in a folder: 0 is the character after the slash.
func behind(folder string) storage.Key { return storage.Key(folder + "0") }

// firstAfter returns the first key behind one.
func firstAfter(ctx context.Context, store storage.Store, after storage.Key) (storage.Key, bool, error) {
	for info, err := range store.List(ctx, "", after) {
		return info.Key, err == nil, err
	}
	return "", false, nil
}
