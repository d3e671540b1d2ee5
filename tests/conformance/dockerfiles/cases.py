"""The Dockerfiles that are built for the comparison, with their contexts.

Each is small and has a subject. `FROM busybox` is the image that both endpoints have; what a case needs
besides (bases) is built first, at the same endpoint.
"""

import gzip
import tarfile

from conformance.dockerfiles.context import archive, device, directory, fifo, file, hard_link, link

# VFS_CAP_REVISION_2, effective, CAP_NET_BIND_SERVICE.
_CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


class Case:
    """A Dockerfile, its context, and how it is built."""

    client = None  # arguments of `docker build`, if the stock client does it

    def __init__(self, name, text, files=None, again=None, changed=None, again_query=None, bases=(), web=None, **query):
        self.name, self.text, self.files = name, text, files or {}
        self.again = again if again is not None else (changed is not None or again_query is not None) or None
        self.changed, self.again_query = changed or {}, again_query or {}
        self.bases = bases
        self.web = web  # a script that fills /www; WEB in the Dockerfile is where it is served
        self.query = {"rm": 1, **query}

    def context(self, server=""):
        return archive({"Dockerfile": self.text.replace("WEB", server), **self.files})

    def changed_context(self, server=""):
        return archive({"Dockerfile": self.text.replace("WEB", server), **self.files, **self.changed})


class ClientCase(Case):
    """One that the stock client builds, which reads a directory and .dockerignore."""

    def __init__(self, name, text, arguments, files=None):
        super().__init__(name, text, files)
        self.client = arguments


def _compressed(entries, mode):
    return gzip.compress(archive(entries), mtime=0) if mode == "gz" else archive(entries, f"w:{mode}")


def _concatenated_gzip(data):
    half = len(data) // 2
    return gzip.compress(data[:half], mtime=0) + gzip.compress(data[half:], mtime=0)


def _sparse_tar():
    """A file with a hole, as GNU tar keeps it (old format, made by hand)."""
    header = tarfile.TarInfo("sparse")
    header.type, header.size, header.mtime = tarfile.GNUTYPE_SPARSE, 512, 1_000_000_000
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[386:386 + 48] = b"%011o\0%011o\0" % (1 << 20, 512) + b"%011o\0%011o\0" % ((1 << 20) + 512, 0)
    block[483:495] = b"%011o\0" % ((1 << 20) + 512)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + b"x" * 512 + b"\0" * 1024


# A web server's files, and a program that redirects.
_WWW = """mkdir -p /www/d /www/cgi-bin; cd /www; echo f > f; echo g > d/g; echo index > index.html
touch -d '2001-02-03 04:05:06' f d/g d index.html; tar cf - d | gzip > a.tar.gz
printf '#!/bin/sh\\nprintf "HTTP/1.0 302 Found\\\\r\\\\nLocation: /f\\\\r\\\\n\\\\r\\\\n"\\n' > cgi-bin/r
chmod 755 cgi-bin/*
"""

_TREE = {"d": None, "d/a": "a\n", "d/b": file("b\n", 0o600), "d/sub": directory(0o750), "d/sub/c": file("c\n", 0o755),
         "e": None, "e/x.txt": "x\n", "e/y.txt": "y\n", "e/z.md": "z\n", "top": "top\n", "w.txt": "w\n"}

# Each way to write ENV and LABEL, with what they print.
_EXPANSION = r"""FROM busybox
ENV a=one b="two words" c='single $a' d=un\ quoted e="double $a" empty=
ENV old style   with  spaces
ENV PATH=$PATH:/opt
ENV f=${a} g=${none:-fallback} h=${empty:-fallback} i=${a:+set} j=${none:+set} k=${none:-${a}} l="${none:-a b}"
ENV m=\$a n=\${a} o="\$a" p='\$a' q="$a$b" r=$a$a s=${a}x t=$ax u=$$ v=\\ w="\\" x='\\'
ENV same=first
ENV same=second later=$same
ENV y="a \"quoted\" word" z='it'\''s' aa=a"b"c'd'
ENV tab="a	b" hash=a#b eq=a=b url=http://x/?a=b&c=d
LABEL "a.b"=$a c="$b" "d e"='$a' multi="line \
continues" f=g
USER $a:$b
"""

CASES = [
    # --- the language ---------------------------------------------------------------------------
    Case("comments and continuations",
         "# first\n  # indented\nfrom busybox\n\n#comment\nrun echo a \\\n  # inside\n\n  && echo b \\\n    && echo c\n"
         "Label x=1 \\\n#between\n y=2\ncMd echo \\\n hello\n"),
    Case("empty continuation lines", "FROM busybox\nENV a=1 \\\n\n b=2\nENV c=\\\n3\n"),
    Case("the escape directive", "# escape=`\nFROM busybox\nENV a=C:\\dir b=`$a c=`\nd e=`\n f=g\nRUN echo a `\n && echo b\nLABEL x=`\"q`\"\n"),
    Case("the escape directive too late", "# a comment\n# escape=`\nFROM busybox\nLABEL a=b \\\n c=d\n"),
    Case("a bad escape directive", "# escape=x\nFROM busybox\n"),
    Case("two escape directives", "# escape=`\n# escape=`\nFROM busybox\n"),
    Case("the syntax directive", "# syntax=docker/dockerfile:1\nFROM busybox\nLABEL a=b\n"),
    Case("line ends of Windows, and a mark at the beginning", "\ufeffFROM busybox\r\nENV a=1\\\r\n2\r\nRUN echo x\r\n"),
    Case("no end of line", "FROM busybox\nLABEL a=b"),
    Case("white space", "  FROM\tbusybox  \n\tLABEL  a=b   c=d  \n   RUN   echo  'a  b'   \n"),
    Case("variables", _EXPANSION),
    Case("variables in each instruction",
         "FROM busybox\nARG v=val n=7\nENV e=env\nLABEL l=$v$e\nEXPOSE $n ${n}0/udp\nVOLUME /vol/$v\nWORKDIR /$v/${e}\nUSER $n\n"
         "STOPSIGNAL $n\nCOPY $v /to/$v\nADD ${v} $e/\nONBUILD RUN echo $v\nCMD echo $v\nENTRYPOINT [\"$v\"]\nHEALTHCHECK CMD $v\n"
         "SHELL [\"$v\"]\nMAINTAINER $v\n", {"val": "x\n"}),
    Case("a bad substitution", "FROM busybox\nENV a=${b:x}\n"),
    Case("an unclosed substitution", "FROM busybox\nENV a=${b\n"),
    Case("an unclosed quote", "FROM busybox\nENV a=\"b\n"),
    Case("a required variable", "FROM busybox\nENV a=${b:?must}\n"),
    Case("plain forms of substitution", "FROM busybox\nENV a=${b-x} c=${d+y}\n"),
    # --- arguments ------------------------------------------------------------------------------
    Case("arguments",
         "ARG BASE=busybox\nARG TAG\nARG OUTER=outer\nFROM ${BASE}:${TAG:-latest} AS one\nARG OUTER\nARG a=1\nARG b\nARG c=$a-x\n"
         "ENV a2=$a\nRUN echo \"$a,$b,$c,$OUTER,$TAG\"\nENV a=env\nRUN echo \"$a\"\nARG a=again\nRUN echo \"$a\"\n"
         "FROM one\nRUN echo \"$b,$c,$OUTER\"\nARG b=2\nRUN echo \"$b\"\n"),
    Case("arguments that are given",
         "ARG BASE\nFROM $BASE\nARG a=1\nARG b\nRUN echo \"$a,$b,$c,$HTTP_PROXY\"\nARG HTTP_PROXY\nRUN echo \"$HTTP_PROXY\"\nENV x=$a$b$c\n",
         buildargs='{"BASE":"busybox","a":"one","b":"two","c":"unused","HTTP_PROXY":"http://proxy"}'),
    Case("several arguments on a line", "FROM busybox\nARG a=1 b=2 c\nRUN echo $a$b$c\n", buildargs='{"c":"3"}'),
    Case("platform arguments", "ARG TARGETARCH\nFROM busybox\nARG TARGETPLATFORM\nARG BUILDPLATFORM\nRUN echo \"$TARGETPLATFORM,$BUILDPLATFORM\"\n"),
    # --- configuration --------------------------------------------------------------------------
    Case("labels", "FROM busybox\nLABEL a=1\nLABEL a=2 \"b c\"=\"d e\"\nLABEL old style label\nLABEL f\\ g=h\n",
         labels='{"given":"yes","a":"3"}'),
    Case("ports", "FROM busybox\nEXPOSE 80\nEXPOSE 53/udp 53/tcp 8000-8003 9/sctp\nEXPOSE 80/TCP\n"),
    Case("a bad port", "FROM busybox\nEXPOSE x\n"),
    Case("a port with a binding", "FROM busybox\nEXPOSE 80:81\n"),
    Case("users", "FROM busybox\nUSER nobody\nRUN id; touch /tmp/x\nUSER 7:8\nRUN id\nUSER root\nRUN id\nUSER www-data:users\nRUN id\n"),
    Case("an unknown user", "FROM busybox\nUSER nonesuch\nRUN id\n"),
    Case("working directories",
         "FROM busybox\nENV D=/env\nWORKDIR /a\nWORKDIR b\nWORKDIR ../c/./d\nRUN pwd\nWORKDIR $D/x\nRUN pwd; touch here\nWORKDIR /tmp\n"
         "WORKDIR /with space\nUSER nobody\nWORKDIR /made\n"),
    Case("a working directory that is a file", "FROM busybox\nWORKDIR /etc/passwd/x\n"),
    Case("a working directory behind a link", "FROM busybox\nRUN ln -s /real /linked\nWORKDIR /linked/in\nRUN pwd\n"),
    Case("stop signals", "FROM busybox\nSTOPSIGNAL SIGTERM\nSTOPSIGNAL 9\nSTOPSIGNAL hup\n"),
    Case("a bad stop signal", "FROM busybox\nSTOPSIGNAL none\n"),
    Case("maintainers", "FROM busybox\nMAINTAINER A B <a@b>\nLABEL a=b\n"),
    Case("commands",
         "FROM busybox AS a\nCMD echo x\nENTRYPOINT [\"e\"]\nCMD [\"a\", \"b\"]\nFROM a AS b\nENTRYPOINT f g\nFROM a AS c\n"
         "CMD [\"c\"]\nENTRYPOINT [\"h\", \"i\"]\nFROM busybox\nCMD [\"x\"]\nENTRYPOINT []\nCMD []\n"),
    Case("an entrypoint resets the command of the base", "FROM busybox\nENTRYPOINT [\"e\"]\n"),
    Case("commands that are no JSON", "FROM busybox\nCMD ['a', 'b']\nCMD [\"a\",]\nENTRYPOINT [\"a\"] b\n"),
    Case("a command of numbers", "FROM busybox\nENTRYPOINT [\"a\", 1]\n"),
    Case("shells", "FROM busybox\nSHELL [\"/bin/sh\", \"-e\", \"-c\"]\nRUN echo a\nCMD echo b\nENTRYPOINT echo c\nHEALTHCHECK CMD echo d\n"),
    Case("a shell that is no JSON", "FROM busybox\nSHELL /bin/sh -c\n"),
    Case("health checks",
         "FROM busybox\nHEALTHCHECK CMD true\nHEALTHCHECK --interval=5m --timeout=3s --start-period=1m30s --retries=4 CMD [\"a\", \"b\"]\n"
         "HEALTHCHECK NONE\nHEALTHCHECK --interval=1500ms cmd x | y\n"),
    Case("a bad interval", "FROM busybox\nHEALTHCHECK --interval=1us CMD x\n"),
    Case("a bad number of retries", "FROM busybox\nHEALTHCHECK --retries=0 CMD x\n"),
    Case("triggers", "FROM triggers\nRUN cat /from/*\n", {"f": "f\n"},
         bases=[("FROM busybox\nONBUILD ARG a=1\nONBUILD COPY f /from/\nONBUILD RUN echo $a; pwd\nONBUILD WORKDIR /w\nONBUILD LABEL x=y\n",
                 {}, "triggers")]),
    Case("a trigger that fails", "FROM triggers\n", bases=[("FROM busybox\nONBUILD COPY none /\n", {}, "triggers")]),
    Case("triggers that are refused", "FROM busybox\nONBUILD ONBUILD RUN x\n"),
    Case("a trigger of another base", "FROM busybox\nONBUILD FROM x\n"),
    # --- RUN ------------------------------------------------------------------------------------
    Case("RUN and its output", "FROM busybox\nRUN echo out; printf 'no end'\nRUN echo err >&2; printf 'no end' >&2\nRUN [\"echo\", \"$PATH\", \"a b\"]\nRUN true\n"),
    Case("RUN that fails", "FROM busybox\nRUN echo before; exit 3\nRUN echo never\n"),
    Case("RUN that fails, and its container is removed", "FROM busybox\nRUN exit 4\n", forcerm=1),
    Case("RUN without removal", "FROM busybox\nRUN echo a\nLABEL a=b\n", rm=0),
    Case("RUN of no program", "FROM busybox\nRUN [\"/none\"]\n"),
    Case("RUN in a shell of a program that is not there", "FROM busybox\nRUN nonesuch\n"),
    Case("RUN that is killed", "FROM busybox\nRUN kill -9 $$\n"),
    Case("RUN of files",
         "FROM busybox\nRUN mkdir -m 2750 /d && echo x > /d/f && chown 3:4 /d/f && chmod 4755 /d/f && ln /d/f /d/g && ln -s f /d/l && mkfifo /d/p "
         "&& mknod /d/c c 1 3 && touch -d '2001-02-03 04:05:06' /d/f /d\nRUN rm /d/g /etc/group; rm -r /var/spool; mkdir /var/spool; chmod 700 /home\n"
         "RUN rm -r /d && mkdir /d && touch /d/new\nRUN echo x >> /etc/passwd; mv /etc/shadow /etc/moved\n"),
    Case("RUN that changes what is not kept", "FROM busybox\nRUN echo x >> /etc/hosts; echo y > /etc/hostname; echo z > /etc/resolv.conf; echo q > /dev/x; echo r > /tmp/x\n"),
    Case("RUN and its environment", "FROM busybox\nARG a=arg\nENV b=env\nRUN env | grep -v HOSTNAME | sort; tty; id; umask\n"),
    Case("a volume", "FROM busybox\nRUN mkdir /v; echo a > /v/a; chown 5:6 /v; chmod 711 /v\nVOLUME /v /w\nRUN echo b > /v/b; touch /w/x; rm /v/a; ls -la /v | wc -l\n"
         "RUN ls /v /w\nCOPY f /v/\nRUN ls /v\nWORKDIR /v/deep\nRUN pwd; ls -A /v\n", {"f": "f\n"}),
    Case("volumes in JSON", "FROM busybox\nVOLUME [\"/a\", \"/b c\"]\nVOLUME /d /e\nRUN touch /a/x '/b c/y' /d/z\n"),
    Case("a volume of the base", "FROM volumed\nRUN echo x >> /v/a; cat /v/a; stat -c '%a %u %g' /v; chmod 700 /v\nRUN cat /v/a; stat -c '%a %u %g' /v\n",
         bases=[("FROM busybox\nRUN mkdir -m 751 /v; echo a > /v/a; chown 7:8 /v /v/a\nVOLUME /v\n", {}, "volumed")]),
    Case("a volume in the place of a file", "FROM busybox\nVOLUME /etc/passwd\nRUN true\n"),
    Case("a volume behind a link", "FROM busybox\nRUN mkdir /real && ln -s /real /v\nVOLUME /v\nRUN touch /v/x; ls /real\nRUN ls /real /v\n"),
    Case("a volume inside of a volume", "FROM busybox\nVOLUME /v /v/w\nRUN touch /v/x /v/w/y; find /v | sort\n"),
    Case("a relative volume", "FROM busybox\nWORKDIR /w\nVOLUME v\nRUN touch v/x\n"),
    Case("a volume of the root", "FROM busybox\nVOLUME /\nRUN true\n"),
    # --- COPY -----------------------------------------------------------------------------------
    Case("COPY of a file", "FROM busybox\nCOPY top /\nCOPY top /as\nCOPY top /new/dir/\nCOPY top /new/other/name\nCOPY top ./rel\nWORKDIR /w\nCOPY top sub/\nCOPY top .\n", _TREE),
    Case("COPY of a directory", "FROM busybox\nCOPY d /a\nCOPY d /b/\nCOPY d/ /c\nCOPY d/. /e/\nCOPY d e /f/\nCOPY . /all\n", _TREE),
    Case("COPY with wildcards", "FROM busybox\nCOPY e/*.txt /a/\nCOPY *.txt t* /b/\nCOPY [de]/?.??? /c/\nCOPY d* /d/\nCOPY e/[!x]*.txt /e/\nCOPY e/\\x.txt /f\n", _TREE),
    Case("COPY with a wildcard that matches nothing", "FROM busybox\nCOPY none* /a/\n", _TREE),
    Case("COPY of several to no directory", "FROM busybox\nCOPY e/*.txt /a\n", _TREE),
    Case("COPY of a file that is not there", "FROM busybox\nLABEL a=b\nCOPY none /\n"),
    Case("COPY from outside", "FROM busybox\nCOPY ../x /\n", {"x": "x"}),
    Case("COPY from outside and in again", "FROM busybox\nCOPY d/../../x /\nCOPY /x /y\nCOPY d/../x /z\n", {"x": "x", "d": None}),
    Case("COPY in JSON", "FROM busybox\nCOPY [\"a file\", \"/to here/\"]\nCOPY [\"a file\", \"b\", \"/both/\"]\n", {"a file": "x", "b": "b"}),
    Case("COPY with owners", "FROM busybox\nCOPY --chown=nobody f /a\nCOPY --chown=www-data:users d /b\nCOPY --chown=7 f /c\nCOPY --chown=7:8 f /new/dir/f\nCOPY --chown=7:users f /e\n",
         {"f": file("x", uid=100, gid=200), "d": None, "d/x": "x"}),
    Case("COPY with a group alone", "FROM busybox\nCOPY --chown=:9 f /a\n", {"f": "x"}),
    Case("COPY with an unknown group", "FROM busybox\nCOPY --chown=1:nonesuch f /a\n", {"f": "x"}),
    Case("COPY with an unknown owner", "FROM busybox\nCOPY --chown=nonesuch f /a\n", {"f": "x"}),
    Case("COPY with an owner in a variable", "FROM busybox\nARG O=3:4\nCOPY --chown=$O f /a\n", {"f": "x"}),
    Case("COPY over what is there", "FROM busybox\nRUN mkdir /d && echo old > /d/f && ln -s /d /l && ln -s f /d/lf && chmod 700 /d\nCOPY f /d/f\nCOPY f /l\nCOPY f /d/lf\nCOPY d /d\nCOPY d /l/\n",
         {"f": "new\n", "d": directory(0o711), "d/f": "newer\n", "d/g": "g\n"}),
    Case("COPY of a directory onto a file", "FROM busybox\nCOPY d /etc/passwd\n", {"d": None, "d/x": "x"}),
    Case("COPY of a directory onto a file's path", "FROM busybox\nCOPY d /etc\n", {"d": None, "d/passwd": None, "d/passwd/x": "x"}),
    Case("COPY of a file onto a directory's path", "FROM busybox\nCOPY d /\n", {"d": None, "d/home": "x"}),
    Case("COPY of links", "FROM busybox\nCOPY d /d\nCOPY d/l /l\nCOPY d/ld /ld\nCOPY d/h /h\n",
         {"d": None, "d/f": "f\n", "d/l": link("f"), "d/h": hard_link("d/f"), "d/ld": link("sub"), "d/sub": None, "d/sub/x": "x", "d/dangling": link("none"),
          "d/abs": link("/etc/passwd")}),
    Case("COPY of a link that leads nowhere", "FROM busybox\nCOPY l /x\n", {"l": link("none")}),
    Case("COPY of a link that leads outside", "FROM busybox\nCOPY l /x\n", {"l": link("../../etc/hostname")}),
    Case("COPY of what is special", "FROM busybox\nCOPY d /d\n",
         {"d": directory(0o3775), "d/suid": file("s", 0o4755), "d/sgid": file("s", 0o2755), "d/sticky": directory(0o1777), "d/none": file("n", 0),
          "d/fifo": fifo(), "d/empty": "", "d/time": file("t", mtime=12345.678), "d/old": file("t", mtime=0), "d/caps": file("c", 0o755, xattrs={"security.capability": _CAPABILITY}),
          "d/xattr": file("x", xattrs={"user.a": b"b"})}),
    Case("COPY of a file that is special", "FROM busybox\nCOPY suid caps time /d/\n",
         {"suid": file("s", 0o4755, uid=3), "caps": file("c", 0o755, xattrs={"security.capability": _CAPABILITY}), "time": file("t", mtime=12345.678)}),
    Case("COPY of odd names", "FROM busybox\nCOPY d /d\nCOPY [\"d/a b\", \"/x y\"]\n",
         {"d": None, "d/a b": "1", "d/\udcff\udcfe": "2", "d/ä ö": "3", "d/$x": "4", "d/new\nline": "5", "d/back\\slash": "6", "d/'q\"": "7", "d/*": "8", "d/.hidden": "9", "d/" + "n" * 250: "10"}),
    Case("COPY to odd names", "FROM busybox\nCOPY f /ä/ö\nCOPY [\"f\", \"/a b/c d\"]\nCOPY f \"/quoted\"\nCOPY f /a/../b/./c\nCOPY f /t//u///v\n", {"f": "f"}),
    Case("COPY of an empty directory", "FROM busybox\nCOPY d /a/b\nCOPY d /tmp\n", {"d": directory(0o700)}),
    Case("COPY through a link of the image", "FROM busybox\nRUN mkdir -p /real/in && ln -s /real /abs && ln -s real /rel && ln -s /none /dangling && ln -s /etc/passwd /lf\n"
         "COPY f /abs/in/f\nCOPY f /rel/\nCOPY f /dangling/f\nCOPY f /lf\n", {"f": "f"}),
    # --- stages ---------------------------------------------------------------------------------
    Case("stages",
         "FROM busybox AS First\nRUN mkdir -m 700 /out && echo a > /out/a && chown 1003:1004 /out/a && touch -d '2001-02-03 04:05:06' /out/a && ln -s a /out/l && echo s > /out/suid && chown 1005 /out/suid && chmod 4711 /out/suid\n"
         "FROM busybox AS second\nCOPY --from=first /out /o\nCOPY --from=0 /out/a /b\nCOPY --from=FIRST /out/l /l\nFROM scratch\nCOPY --from=second /o/ /\nCOPY --from=1 /b /c/\nCOPY --chown=9:9 --from=first /out /owned\nLABEL a=b\n"),
    Case("COPY --from of hard links", "FROM busybox AS a\nRUN mkdir /x && echo x > /x/a && ln /x/a /x/b\nFROM busybox\nCOPY --from=a /x /y\n"),
    Case("COPY --from with wildcards", "FROM busybox AS a\nRUN mkdir /x && touch /x/1.t /x/2.t /x/3.u\nFROM busybox\nCOPY --from=a /x/*.t /y/\nCOPY --from=a /[x] /z/\n"),
    Case("COPY --from an image", "FROM scratch\nCOPY --from=busybox:latest /etc/passwd /p\nCOPY --from=other /o /etc/group /q/\n",
         bases=[("FROM busybox\nRUN echo o > /o\n", {}, "other")]),
    Case("COPY --from a stage that is not there", "FROM busybox\nCOPY --from=9 /etc/passwd /p\n"),
    Case("COPY --from itself", "FROM busybox AS me\nCOPY --from=0 /etc/passwd /p\n"),
    Case("COPY --from what is not there", "FROM busybox AS a\nFROM busybox\nCOPY --from=a /none /p\n"),
    Case("a stage that begins with a stage", "FROM busybox AS a\nENV x=1\nWORKDIR /w\nUSER 5\nRUN touch /tmp/a\nFROM a\nRUN echo $x; pwd; id -u; ls /tmp\nLABEL y=$x\n"),
    Case("stages of one name", "FROM busybox AS a\nRUN echo 1 > /f\nFROM busybox AS a\nRUN echo 2 > /f\nFROM busybox\nCOPY --from=a /f /f\nRUN cat /f\n"),
    Case("a bad name of a stage", "FROM busybox AS 1a\n"),
    Case("FROM with too much", "FROM busybox AS\n"),
    Case("FROM without a name", "ARG x\nFROM $x\n"),
    Case("FROM a name that is no name", "FROM Bus:y:box\n"),
    Case("scratch", "FROM scratch\nCOPY f /f\nENV a=1\nWORKDIR /w\nCMD [\"/f\"]\n", {"f": file("x", 0o755)}),
    Case("scratch without files", "FROM scratch\nLABEL a=b\n"),
    Case("scratch alone", "FROM scratch\n"),
    Case("RUN in scratch", "FROM scratch\nRUN [\"/x\"]\n"),
    Case("a target", "FROM busybox AS a\nLABEL a=1\nFROM busybox AS b\nLABEL b=1\nFROM busybox AS c\nLABEL c=1\n", target="B"),
    Case("a target by number", "FROM busybox AS a\nLABEL a=1\nFROM busybox AS b\nLABEL b=1\n", target="0"),
    Case("a target that is not there", "FROM busybox AS a\nLABEL a=1\n", target="z"),
    Case("--platform", "FROM --platform=linux/amd64 busybox\nLABEL a=b\n"),
    # --- ADD ------------------------------------------------------------------------------------
    Case("ADD of files", "FROM busybox\nADD top /a\nADD d /b/\nADD --chown=3:4 e/*.txt /c/\n", _TREE),
    Case("ADD of archives", "FROM busybox\nADD plain.tar /plain\nADD a.tar.gz a.tgz /gz/\nADD a.tar.xz /xz/\nADD a.tar.bz2 /bz2/\nADD noext /noext\nCOPY plain.tar /kept\nADD a.tar.gz /\n",
         {"plain.tar": archive({"in": directory(0o711, uid=5), "in/f": file("f\n", 0o4755, uid=1, gid=2), "in/l": link("f"), "in/h": hard_link("in/f", mode=0o4755, uid=1, gid=2),
                                "in/t": file("t", mtime=123456789)}),
          **{name: _compressed({"z": file(name, uid=7), "bin/added": "x"}, kind)
             for name, kind in (("a.tar.gz", "gz"), ("a.tgz", "gz"), ("a.tar.xz", "xz"), ("a.tar.bz2", "bz2"), ("noext", "gz"))}}),
    Case("ADD of archives with an owner", "FROM busybox\nADD --chown=9:8 a.tar /a\n", {"a.tar": archive({"x": file("x", uid=1)})}),
    Case("ADD of what is no archive", "FROM busybox\nADD a.tar.gz /a/\nADD b.tar /b/\nADD c.gz /c/\nADD empty.tar /d/\nADD none.tar /e/\n",
         {"a.tar.gz": "not one", "b.tar": b"x" * 1024, "c.gz": gzip.compress(b"text", mtime=0), "empty.tar": archive({}), "none.tar": ""}),
    Case("ADD of an archive in a directory", "FROM busybox\nADD d /d\n", {"d": None, "d/a.tar": archive({"x": "x"})}),
    Case("ADD of an archive onto what is there", "FROM busybox\nRUN mkdir /a && echo old > /a/f && mkdir /a/d && ln -s d /a/l && echo keep > /a/keep\nADD a.tar /a\n",
         {"a.tar": archive({"f": "new", "d": file("file now"), "keep": None, "keep/x": "x", "up/../in": "i"})}),
    Case("ADD of an archive through a link", "FROM busybox\nRUN mkdir -p /a/d && ln -s d /a/l && ln -s /etc /a/m\nADD a.tar /a\n",
         {"a.tar": archive({"l/through": "t", "m/through": "t"})}),
    Case("ADD of an archive that leads outside", "FROM busybox\nADD a.tar /a/b\n", {"a.tar": archive({"../../out": "o"})}),
    Case("ADD of an archive to a file", "FROM busybox\nADD a.tar /etc/passwd\n", {"a.tar": archive({"x": "x"})}),
    Case("ADD of an archive with special entries", "FROM busybox\nADD a.tar /a\n",
         {"a.tar": archive({"dev": device(1, 3), "fifo": fifo(), "caps": file("c", 0o755, xattrs={"security.capability": _CAPABILITY}), "\udcff": "x", "deep/er/f": "f",
                            "./dot": "d", "/abs": "a", "x" * 120 + "/" + "y" * 120: "long"})}),
    Case("ADD of an archive with a whiteout", "FROM busybox\nADD a.tar /a\n", {"a.tar": archive({"f": "f", "wh/.wh.gone": "w"})}),
    Case("ADD of a sparse file in an archive", "FROM busybox\nADD a.tar /a\n", {"a.tar": _sparse_tar()}),
    Case("ADD of gzip in two pieces", "FROM busybox\nADD a.tgz /a\n", {"a.tgz": _concatenated_gzip(archive({"x": "x", "y": b"y" * 3000}))}),
    Case("ADD of URLs", "FROM busybox\nADD http://WEB/f /a\nADD http://WEB/f http://WEB/d/g?x=/y /dir/\nADD --chown=3:4 http://WEB/f /c\n"
         "ADD http://WEB/a.tar.gz /archive/\nADD http://WEB/f local /both/\nWORKDIR /w\nADD http://WEB/f ./\n", {"local": "l"}, web=_WWW),
    Case("ADD of a URL that redirects", "FROM busybox\nADD http://WEB/cgi-bin/r /x/\n", web=_WWW),
    Case("ADD of a URL without a name", "FROM busybox\nADD http://WEB/ /x\n", web=_WWW),
    Case("ADD of a URL without a name to a directory", "FROM busybox\nADD http://WEB/ /x/\n", web=_WWW),
    Case("ADD of a URL that is not there", "FROM busybox\nADD http://WEB/none /x\n", web=_WWW),
    Case("ADD of a URL where nobody listens", "FROM busybox\nADD http://WEB:9/none /x\n", web=_WWW),
    Case("ADD of a URL, again", "FROM busybox\nADD http://WEB/f /a\n", again=True, web=_WWW),
    Case("ADD of another scheme", "FROM busybox\nADD ftp://example.org/x /x\n"),
    Case("COPY of a URL", "FROM busybox\nCOPY http://WEB/f /a\n", web=_WWW),
    # --- the cache ------------------------------------------------------------------------------
    Case("the cache", "FROM busybox\nARG v=1\nENV a=b\nRUN echo x > /x\nCOPY d /d\nWORKDIR /w\nADD f /f\nCMD [\"x\"]\n", {"d": None, "d/a": "a", "f": "f"}, again=True),
    Case("the cache and a changed file", "FROM busybox\nLABEL a=b\nCOPY f /f\nCOPY g /g\nRUN true\n", {"f": "f", "g": "g"}, changed={"f": "changed"}),
    Case("the cache and a changed time", "FROM busybox\nCOPY f /f\n", {"f": "f"}, changed={"f": file("f", mtime=5)}),
    Case("the cache and a changed mode", "FROM busybox\nCOPY f /f\n", {"f": "f"}, changed={"f": file("f", 0o600)}),
    Case("the cache and a changed owner", "FROM busybox\nCOPY f /f\n", {"f": "f"}, changed={"f": file("f", uid=7)}),
    Case("the cache and an argument", "FROM busybox\nARG a=1\nLABEL x=y\nRUN echo $a\n", again_query={"buildargs": '{"a":"2"}'}),
    Case("the cache and a proxy", "FROM busybox\nRUN echo x\n", again_query={"buildargs": '{"HTTP_PROXY":"http://p"}'}),
    Case("no cache", "FROM busybox\nLABEL x=y\nRUN true\n", again_query={"nocache": 1}),
    Case("the cache of an image", "FROM busybox\nLABEL x=y\nRUN true\n", t="cached:1", again_query={"cachefrom": '["cached:1"]'}),
    Case("the cache of another image", "FROM busybox\nLABEL x=y\nRUN true\n", again_query={"cachefrom": '["busybox:latest"]'}),
    Case("the cache and stages", "FROM busybox AS a\nRUN echo 1 > /x\nFROM busybox\nCOPY --from=a /x /y\nRUN cat /y\n", again=True),
    # --- errors ---------------------------------------------------------------------------------
    Case("an unknown instruction", "FROM busybox\nFOO bar\n"),
    Case("an unknown instruction first", "FOO bar\n"),
    Case("an instruction before FROM", "RUN true\nFROM busybox\n"),
    Case("an instruction without arguments", "FROM busybox\nRUN\n"),
    Case("ENV without a value", "FROM busybox\nENV a\n"),
    Case("ENV without a name", "FROM busybox\nENV =b\n"),
    Case("LABEL without a value", "FROM busybox\nLABEL a\n"),
    Case("COPY without a destination", "FROM busybox\nCOPY a\n"),
    Case("an unknown flag", "FROM busybox\nCOPY --what=x a /\n"),
    Case("a flag without a value", "FROM busybox\nCOPY --from a /\n"),
    Case("a flag twice", "FROM busybox\nCOPY --from=a --from=b a /\n"),
    Case("WORKDIR with two", "FROM busybox\nWORKDIR /a /b\nRUN pwd\n"),
    Case("a Dockerfile of comments", "# nothing\n"),
    Case("a Dockerfile of white space", "\n\n"),
    Case("a here-document", "FROM busybox\nRUN <<EOF\necho x\nEOF\n"),
    Case("quiet", "FROM busybox\nLABEL a=b\nRUN echo x\n", q=1),
    Case("quiet and wrong", "FROM busybox\nRUN echo x; exit 5\n", q=1),
    Case("tags", "FROM busybox\nLABEL a=b\n", t="tagged:one"),
    Case("a Dockerfile elsewhere", "FROM none\n", {"sub": None, "sub/Other": "FROM busybox\nCOPY sub/Other /o\n"}, dockerfile="sub/Other"),
    Case("what .dockerignore leaves to the daemon", "FROM busybox\nCOPY . /all\n", {".dockerignore": "Dockerfile\n.dockerignore\nf\n", "f": "f", "g": "g"}),
    Case("what .dockerignore does not name", "FROM busybox\nCOPY . /all\n", {".dockerignore": "*\n!g\n!Dockerfile\n", "g": "g"}),
    ClientCase("the client", "FROM busybox\nCOPY . /all\nRUN echo x\nRUN echo y >&2\n", ["-t", "client:1"], {"f": "f", "d/g": file("g", 0o755)}),
    ClientCase("the client, quiet", "FROM busybox\nRUN echo x\n", ["-q"]),
    ClientCase("the client, and a command that fails", "FROM busybox\nRUN exit 9\n", []),
    ClientCase("the client, and an error", "FROM busybox\nCOPY none /\n", []),
    ClientCase("the client's arguments and labels", "FROM busybox AS a\nARG x\nRUN echo $x\nFROM busybox\nLABEL z=1\n",
               ["--build-arg", "x=1", "--build-arg", "y=2", "--label", "l=m", "--target", "a"]),
    ClientCase(".dockerignore", "FROM busybox\nCOPY . /all\n", [],
               {".dockerignore": "# comment\n*.log\n!keep.log\n**/tmp\nd/*\n!d/kept\n/rooted\nsub/**/x\n  spaces  \ntemp?\n!**/deep/y\n", "a.log": "1", "keep.log": "2", "s/a.log": "3",
                "s/tmp/f": "4", "tmp/f": "5", "d/f": "6", "d/kept": "7", "rooted": "8", "s/rooted": "9", "sub/x": "10", "sub/a/b/x": "11",
                "sub/a/y": "12", "spaces": "13", "temp1": "14", "temp12": "15", "d/deep/y": "16"}),
    ClientCase(".dockerignore of all but some", "FROM busybox\nCOPY . /all\n", [], {".dockerignore": "*\n!d\nd/no\n", "f": "f", "d/yes": "y", "d/no": "n"}),
    ClientCase("a Dockerfile with another name", "FROM none\n", ["-f", "Other"], {"Other": "FROM busybox\nLABEL other=1\n"}),
    Case("limits", "FROM busybox\nRUN ulimit -n; df -k /dev/shm | tail -1 | awk '{print $2}'; cat /etc/hosts | grep -c extra\n",
         memory=100 << 20, shmsize=1 << 20, ulimits='[{"Name":"nofile","Soft":100,"Hard":200}]', extrahosts="extra:192.0.2.1"),
]

assert len({case.name for case in CASES}) == len(CASES)
