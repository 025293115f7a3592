package cli

import "os"

// terminalKey has nothing to name a console by: what scrolled off is shown again.
func terminalKey(*os.File) string { return "" }

// watchSize hears nothing: a console tells its new size only to those who read its input records.
func watchSize() (changed <-chan struct{}, stop func()) { return nil, func() {} }
