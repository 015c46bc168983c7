package storage

import (
	"context"
	"iter"
	"strings"
)

// Folderer is the optional ability of a store to list folders without what is in them, a thousand with one request.
type Folderer interface {
	// Folders yields the folders right below prefix, which is empty or ends with a slash: of each key there that is greater than after and has a slash behind the prefix what
	// stands before that slash, prefix included, once, in the order of the keys. It ends after the first error.
	Folders(ctx context.Context, prefix, after Key) iter.Seq2[Key, error]
}

// Folders calls store's Folders if it has one. Otherwise it goes from one folder to the next by the first key of each, with a list for each folder.
func Folders(ctx context.Context, store Store, prefix, after Key) iter.Seq2[Key, error] {
	if s, ok := store.(Folderer); ok {
		return s.Folders(ctx, prefix, after)
	}
	return func(yield func(Key, error) bool) {
		for {
			folder, err := nextFolder(ctx, store, prefix, after)
			if err != nil {
				yield("", err)
				return
			}
			if folder == "" || !yield(folder, nil) {
				return
			}
			after = BehindFolder(folder)
		}
	}
}

// nextFolder returns the folder of the first key behind after that lies in one; empty if there is none.
func nextFolder(ctx context.Context, store Store, prefix, after Key) (Key, error) {
	for info, err := range store.List(ctx, prefix, after) {
		if err != nil {
			return "", err
		}
		if folder, in := FolderBelow(prefix, info.Key); in {
			return folder, nil
		}
	}
	return "", nil
}

// FolderBelow returns the folder right below prefix that key, which begins with the prefix, lies in; false if it lies in none.
func FolderBelow(prefix, key Key) (Key, bool) {
	name, _, in := strings.Cut(strings.TrimPrefix(string(key), string(prefix)), "/")
	return prefix + Key(name), in
}

// BehindFolder returns a key that is greater than all keys in folder, and than no key of another folder whose name has the same length: '0' is the byte after '/'.
func BehindFolder(folder Key) Key { return folder + "0" }
