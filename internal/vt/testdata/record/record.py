#!/usr/bin/env python3
"""Records what real programs write to a terminal, for the tests of internal/vt.

usage: record.py OUTDIR [NAME...]

Each program runs on a PTY of its own size and is sent keys; what it wrote is
OUTDIR/NAME.COLSxROWS.gz. Questions to the terminal are answered, so that
programs do as they do on a real one. They run in /tmp/demo, where "ink" needs
npm install ink@5 react@18. Nothing here runs during the tests.
"""
import fcntl, gzip, os, pty, select, shutil, signal, struct, sys, tempfile, termios, time

HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = "cases.txt"
FANCY = r"""PS1='\[\e]0;\u: \w\a\]\[\e[1;32m\]\u\[\e[0m\] \[\e[38;5;75m\]\w\[\e[0m\] \[\e[48;2;60;60;90m\e[97m\] ✔ \[\e[0m\]\n❯ '
PROMPT_COMMAND='printf "\e]133;A\a"'
alias ls='ls --color=always'
"""
ANSWERS = [(b"\x1b[c", b"\x1b[?64;6;22;28c"), (b"\x1b[>c", b"\x1b[>41;400;0c"),
           (b"\x1b[6n", b"\x1b[1;1R"), (b"\x1b[5n", b"\x1b[0n"),
           (b"\x1b]10;?", b"\x1b]10;rgb:e5e5/e5e5/e5e5\x1b\\"), (b"\x1b]11;?", b"\x1b]11;rgb:0000/0000/0000\x1b\\"),
           (b"\x1b[?u", b"\x1b[?0u"), (b"\x1b[>0q", b"\x1bP>|moat\x1b\\")]

# name: (columns, rows, command, keys; a number among them is a pause in seconds)
PROGRAMS = {
    "vim": (80, 24, ["vim", "-u", "NONE", "-N", "-c", "syntax on|set hls nu ruler showcmd", "record.py"],
            [0.5, "\x04", "\x04", 0.3, "/def\r", "n", "n", 0.3, "dd", "p", "u", "V10j>", 0.2, ":split\r", "\x17j", "G", 0.3,
             "oτέλος 終わり 🎉\x1b", 0.2, ":set list\r", "gg", "v$", "\x1b", ":vsplit\r", "\x17l", "\x06", "\x06", 0.3, ":%s/e/E/g\r", 0.3, ":qa!\r"]),
    "less": (80, 24, ["less", "-R", TEXT], [0.3] + [" "] * 6 + ["b", "b", "/wide\r", "n", "n", "g", "j", "j", "k", "G", 0.3, "q"]),
    "htop": (100, 30, ["unshare", "-pf", "--mount-proc", "htop", "-d", "3"], [1.0, "\x1b[B", "\x1b[B", "\x1b[B", 0.5, "t", 0.8, "F", 0.5, "M", 1.0, "q"]),
    "nano": (80, 24, ["nano", "-I", "-l", TEXT], [0.5, "hello ", "wörld 日本", "\x16", "\x16", 0.3, "\x17text\r", 0.3, "\x0b", "\x0b", "\x15", 0.3, "\x1b\x1b", "\x18", "n"]),
    "python": (80, 24, ["python3", "-q"], [0.5, "import this\r", 0.5, "for i in range(5):\r", "    print('x' * 30 * i)\r", "\r", 0.3, "1/0\r", "'é日🎉'\r", "\x1b[A\x1b[D\x1b[D\x7fz\r", 0.3, "exit()\r"]),
    "bash": (80, 24, ["bash", "--rcfile", "RC"], [0.5, "ls -la /etc | head -30\r", 0.4, "echo -e '\\e[1;31mred\\e[0m \\e[4:3mcurl\\e[0m'\r", 0.3,
             "for i in $(seq 40); do echo line $i; done\r", 0.4, "a long command line that goes on and on until it has to be wrapped at the edge of the screen, twice if need be, and more" + "\x01" + "echo " + "\x05" + "\x17\x17\x17", 0.3, "\x03", 0.2,
             "\x1b[A\x1b[A", 0.2, "\x12seq", 0.3, "\x07", "ls --color=always -C /usr/bin | head -60\r", 0.5, "clear\r", 0.2, "printf 'no newline'\r", 0.3, "exit\r"]),
    "mc": (80, 24, ["mc", "-d", "-a"], [1.0, "\x1b[B", "\x1b[B", "\t", "\x1b[B", 0.3, "\x1b9", 0.4, "\x1b[C", "\x1b[B", 0.3, "\x1b\x1b", 0.5, "\x1b3", 0.5, "\x1b0", 0.5, "\x1b0", 0.3, "\r"]),
    "mc-utf8": (100, 30, ["mc", "-d"], [1.0, "\x1b[B", "\x1b[B", "\x1b[B", "\t", 0.3, "\x1b9", 0.4, "\x1b\x1b", 0.5, "\x0f", 0.5, "\x0f", 0.4, "\x1b0", 0.3, "\r"]),
    "fzf": (80, 24, ["sh", "-c", "find /usr/share/doc -maxdepth 1 | head -400 | fzf --height=40% --border --multi"], [0.8, "lib", 0.4, "\x1b[A", "\x1b[A", "\t", "\t", 0.3, "\x7f\x7f", 0.3, "\x1b[B", "\r", 0.3]),
    "fzf-full": (90, 30, ["sh", "-c", "find /usr/share/doc -maxdepth 1 | head -400 | fzf --preview 'ls -la --color=always {}'"], [0.8, "perl", 0.5, "\x1b[A", 0.4, "\x1b[A", 0.4, "\x1b"]),
    "top": (80, 24, ["unshare", "-pf", "--mount-proc", "top", "-d", "0.7"], [1.6, "z", 0.8, "x", 0.8, "1", 0.8, "q"]),
    "ink": (80, 24, ["node", "agent.mjs"], [5.0]),
    "seq": (80, 24, ["sh", "-c", "seq 3000; ls --color=always -R /usr/share/perl5 | head -400"], [0.5]),
}


def run(name, out):
    cols, rows, command, keys = PROGRAMS[name]
    rc = tempfile.NamedTemporaryFile("w", suffix=".rc")
    rc.write(FANCY)
    rc.flush()
    command = [rc.name if a == "RC" else a for a in command]
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", LANG="C.UTF-8", COLORTERM="truecolor", HOME=os.getcwd())
        os.environ.pop("TMUX", None)
        try:
            os.execvp(command[0], command)
        except OSError:
            os._exit(127)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
    got = b""

    def read(seconds):
        nonlocal got
        end = time.time() + seconds
        while (left := end - time.time()) > 0:
            if not select.select([fd], [], [], left)[0]:
                continue
            try:
                part = os.read(fd, 65536)
            except OSError:
                return False
            if not part:
                return False
            got += part
            for question, answer in ANSWERS:
                if question in part:
                    os.write(fd, answer)
        return True

    alive = True
    for key in keys:
        if not alive:
            break
        if isinstance(key, str):
            os.write(fd, key.encode())
        alive = read(key if not isinstance(key, str) else 0.08)
    if alive:
        read(0.5)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(fd)
    path = os.path.join(out, f"{name}.{cols}x{rows}.gz")
    with open(path, "wb") as f, gzip.GzipFile("", "wb", 9, f, 0) as z:
        z.write(got)
    print(name, len(got), os.path.getsize(path))


out = os.path.abspath(sys.argv[1])
os.makedirs("/tmp/demo", exist_ok=True)
for path in (os.path.join(os.path.dirname(HERE), "cases.txt"), os.path.join(HERE, "record.py"), os.path.join(HERE, "agent.mjs")):
    shutil.copy(path, "/tmp/demo")
os.chdir("/tmp/demo")
for name in sys.argv[2:] or PROGRAMS:
    run(name, out)
