#!/usr/bin/python3
"""Execute LLVM IR on symbols, and have Z3 judge what a proof claims.

usage: prover.py [--all] FILE.ll [NAME...]

Called by tools/prove, with what clang -O0 makes of a file of tests/proof (proof.h says what proofs
are). Every path of a proof is followed. A number is a bit vector, a pointer is an object and an
offset. An object of the program's own holds cells; one of a guest's gives another symbol at each
read. A function whose name begins with false_ is a proof that has to fail: it shows that this
program can tell. One that begins with long_ takes a minute, and is tried if that is asked for.
"""
import re
import sys

import z3

ROUNDS = 16
TOKEN = re.compile(r'\s*(c"(?:[^"\\]|\\..)*"|[%@]"[^"]*"|[%@!#][\w.$-]*|-?\d+|[A-Za-z_][\w.]*|\.\.\.|[][(){}<>,=*:])')
ATTRIBUTES = set('''noundef zeroext signext noalias nonnull readonly writeonly nocapture returned immarg inreg nuw nsw
    exact inbounds volatile tail notail musttail dso_local internal private hidden fastcc ccc local_unnamed_addr
    unnamed_addr'''.split())


class Failure(Exception):
    """A claim that does not hold, or something this program does not know."""


# --- Types and how they lie in memory. ---

class Type:
    def __init__(self, kind, bits=0, parts=(), count=0, packed=False):
        self.kind, self.bits, self.parts, self.count, self.packed = kind, bits, parts, count, packed


VOID, POINTER, LABEL = Type('void'), Type('pointer', 64), Type('label')


def align_of(t):
    if t.kind in ('int', 'pointer'):
        return 1 << (max(t.bits, 8) // 8 - 1).bit_length()
    if t.kind == 'array':
        return align_of(t.parts[0])
    return 1 if t.packed else max([align_of(p) for p in t.parts] or [1])


def offset_of(t, index):
    at = 0
    for i, part in enumerate(t.parts):
        if not t.packed:
            at += -at % align_of(part)
        if i == index:
            return at
        at += size_of(part)
    return at if t.packed else at + -at % align_of(t)


def size_of(t):
    if t.kind in ('int', 'pointer'):
        return (t.bits + 7) // 8
    if t.kind == 'array':
        return t.count * size_of(t.parts[0])
    return offset_of(t, len(t.parts))


# --- Reading the text. ---

class Reader:
    """The tokens of one instruction, or of one definition."""

    def __init__(self, module, text):
        self.module, self.at = module, 0
        self.tokens = TOKEN.findall(text)

    def peek(self, ahead=0):
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ''

    def take(self, what=None):
        token = self.peek()
        if what and token != what:
            raise Failure(f'{what} expected in {" ".join(self.tokens)}')
        self.at += 1
        return token

    def accept(self, what):
        if self.peek() == what:
            self.at += 1
            return True
        return False

    def skip(self):
        while True:
            if self.peek() in ATTRIBUTES:
                self.at += 1
            elif self.peek() in ('align', 'dereferenceable', 'dereferenceable_or_null', 'sret', 'byval') and \
                    (self.peek(1) == '(' or self.peek().startswith('align')):
                if self.take() == 'align' and self.peek() != '(':
                    self.take()
                    continue
                depth = 0
                while True:
                    depth += {'(': 1, ')': -1}.get(self.take(), 0)
                    if not depth:
                        break
            else:
                return

    def type(self):
        token = self.take()
        if re.fullmatch(r'i\d+', token):
            t = Type('int', int(token[1:]))
        elif token == 'void':
            t = VOID
        elif token == 'label':
            return LABEL
        elif token.startswith('%'):
            t = self.module.type(token)
        elif token == '[':
            count = int(self.take())
            self.take('x')
            t = Type('array', parts=(self.type(),), count=count)
            self.take(']')
        elif token == '{' or (token == '<' and self.accept('{')):
            parts = []
            while self.peek() != '}':
                parts.append(self.type())
                self.accept(',')
            self.take('}')
            if token == '<':
                self.take('>')
            t = Type('struct', parts=tuple(parts), packed=token == '<')
        elif token == 'opaque':
            t = Type('struct')
        elif token == 'ptr':
            t = POINTER
        else:
            raise Failure(f'a type {token} in {" ".join(self.tokens)}')
        while True:
            if self.accept('*'):
                t = POINTER
            elif self.peek() == '(' and t is not LABEL and self.is_function():
                self.parenthesis()
                t = VOID
            else:
                return t

    def is_function(self):
        """Whether the parenthesis is of a function's type: one behind which there is a star."""
        depth, i = 0, self.at
        while True:
            depth += {'(': 1, ')': -1}.get(self.tokens[i], 0)
            i += 1
            if not depth:
                return i < len(self.tokens) and self.tokens[i] == '*'

    def parenthesis(self):
        depth = 0
        while True:
            depth += {'(': 1, ')': -1}.get(self.take(), 0)
            if not depth:
                return


class Block:
    def __init__(self, name):
        self.name, self.code = name, []


class Function:
    def __init__(self, name, result, parameters):
        self.name, self.result, self.parameters = name, result, parameters
        self.blocks, self.entry = {}, None

    def targets(self, name):
        return re.findall(r'label %("[^"]*"|[\w.$-]+)', self.blocks[name].code[-1])

    def headers(self):
        """{header: blocks of the loop}."""
        found, state, order = {}, {}, []

        def visit(name):
            state[name] = 1
            for to in self.targets(name):
                if state.get(to) == 1:
                    found.setdefault(to, set()).add(name)
                elif to not in state:
                    visit(to)
            state[name] = 2
            order.append(name)
        visit(self.entry)
        before = {}
        for name in self.blocks:
            for to in self.targets(name):
                before.setdefault(to, set()).add(name)
        loops = {}
        for header, ends in found.items():
            body, todo = {header}, list(ends)
            while todo:
                name = todo.pop()
                if name not in body:
                    body.add(name)
                    todo.extend(before.get(name, ()))
            loops[header] = body
        return loops


class Module:
    def __init__(self, path):
        self.types, self.text, self.functions, self.globals = {}, {}, {}, {}
        function = block = None
        with open(path, encoding='utf-8') as lines:
            pending = ''
            for line in lines:
                line = re.sub(r'(, )?![\w.]+ ![\w.]+|#\d+|;[^"]*$', '', line.rstrip('\n'))
                if pending:
                    line = pending + ' ' + line.strip()
                    pending = ''
                if line.count('[') > line.count(']') and 'switch' in line:
                    pending = line
                    continue
                m = re.match(r'(%[\w."-]+) = type (.*)', line)
                if m:
                    self.text[m[1]] = m[2]
                elif line.startswith('@'):
                    name = line.split(' = ', 1)[0]
                    self.globals[name] = line.split(' = ', 1)[1]
                elif line.startswith('define'):
                    function = self.signature(line)
                    block = None
                elif line == '}':
                    function = None
                elif function and line.strip():
                    m = re.match(r'("[^"]*"|[\w.$-]+):', line)
                    if m or block is None:
                        block = Block(m[1] if m else 'entry')
                        function.blocks[block.name] = block
                        function.entry = function.entry or block.name
                    if not m:
                        block.code.append(line.strip())

    def type(self, name):
        if name not in self.types:
            t = self.types[name] = Type('struct')
            made = Reader(self, self.text[name]).type()
            t.parts, t.packed = made.parts, made.packed
        return self.types[name]

    def signature(self, line):
        r = Reader(self, line.replace('define', '', 1))
        r.skip()
        result = r.type()
        name = r.take()[1:]
        r.take('(')
        parameters = []
        while not r.accept(')'):
            if r.accept('...'):
                continue
            t = r.type()
            r.skip()
            parameters.append((r.take(), t))
            r.accept(',')
        self.functions[name] = Function(name, result, parameters)
        return self.functions[name]


# --- Values and memory. ---

class Object:
    """What a pointer may point into. Guests' objects have no cells."""
    count = 0

    def __init__(self, name, size, guest=False):
        Object.count += 1
        self.name, self.size, self.guest = name, size, guest
        self.base = z3.BitVec(f'address.{Object.count}', 64)


class Pointer:
    def __init__(self, object_, offset):
        self.object, self.offset = object_, offset

    def same(self, other):
        return isinstance(other, Pointer) and self.object is other.object and \
            z3.eq(self.offset, other.offset)


def number(value, bits):
    return z3.BitVecVal(value, bits)


NULL = Pointer(None, number(0, 64))
fresh_count = 0


def fresh(name, bits):
    global fresh_count
    fresh_count += 1
    return z3.BitVec(f'{name}.{fresh_count}', bits)


def simple(value):
    return value if isinstance(value, (Pointer, tuple)) else z3.simplify(value)


class Frame:
    def __init__(self, function, values):
        self.function, self.values = function, values
        self.block, self.before, self.at = function.entry, None, 0
        self.rounds, self.cut, self.result = {}, None, None

    def copy(self):
        f = Frame.__new__(Frame)
        f.__dict__ = dict(self.__dict__)
        f.values, f.rounds = dict(self.values), dict(self.rounds)
        return f


class State:
    """One path: what is known, the frames, and the cells, {object: {offset: (bytes, value)}}."""

    def __init__(self):
        self.known, self.frames, self.cells, self.dead = [], [], {}, False

    def copy(self):
        s = State()
        s.known = list(self.known)
        s.frames = [f.copy() for f in self.frames]
        s.cells = {o: dict(c) for o, c in self.cells.items()}
        return s

    def of(self, object_):
        return self.cells.setdefault(object_, {})

    def cut_out(self, object_, at, size):
        """Removes the cells within the bytes; what is beside them in the same cells stays."""
        cells = self.of(object_)
        for off in [o for o in cells if o < at + size and o + cells[o][0] > at]:
            have, value = cells.pop(off)
            if off < at:
                cells[off] = (at - off, self.part(value, 0, at - off))
            if off + have > at + size:
                n = off + have - at - size
                cells[at + size] = (n, self.part(value, have - n, n))

    @staticmethod
    def part(value, at, size):
        if isinstance(value, Pointer):
            raise Failure('part of a pointer')
        return simple(z3.Extract(8 * (at + size) - 1, 8 * at, value))

    def store(self, object_, at, size, value):
        self.cut_out(object_, at, size)
        self.of(object_)[at] = (size, value)

    def load(self, object_, at, size):
        cells = self.of(object_)
        if cells.get(at, (0,))[0] == size:
            return cells[at][1]
        parts, pos = [], at
        while pos < at + size:
            hit = [o for o in cells if o <= pos < o + cells[o][0]]
            if hit:
                off, (have, value) = hit[0], cells[hit[0]]
                n = min(off + have, at + size) - pos
                parts.append(self.part(value, pos - off, n))
            else:
                after = [o for o in cells if pos < o < at + size]
                n = min(after, default=at + size) - pos
                parts.append(fresh(f'{object_.name}+{pos}', 8 * n))
                cells[pos] = (n, parts[-1])
            pos += n
        return parts[0] if len(parts) == 1 else simple(z3.Concat(*reversed(parts)))


# --- Executing. ---

COMPARE = {'eq': lambda a, b: a == b, 'ne': lambda a, b: a != b,
           'ult': z3.ULT, 'ule': z3.ULE, 'ugt': z3.UGT, 'uge': z3.UGE,
           'slt': lambda a, b: a < b, 'sle': lambda a, b: a <= b,
           'sgt': lambda a, b: a > b, 'sge': lambda a, b: a >= b}
COMPUTE = {'add': lambda a, b: a + b, 'sub': lambda a, b: a - b, 'mul': lambda a, b: a * b,
           'and': lambda a, b: a & b, 'or': lambda a, b: a | b, 'xor': lambda a, b: a ^ b,
           'shl': lambda a, b: a << b, 'lshr': z3.LShR, 'ashr': lambda a, b: a >> b,
           'udiv': z3.UDiv, 'urem': z3.URem, 'sdiv': lambda a, b: a / b, 'srem': z3.SRem}
# Whether the exact result, of twice the width, is another than the wrapped one.
OVERFLOW = {'add': (lambda a, b: a + b), 'sub': (lambda a, b: a - b), 'mul': (lambda a, b: a * b)}


def as_bit(condition):
    return z3.If(condition, number(1, 1), number(0, 1))


class Prover:
    def __init__(self, module):
        self.module = module
        self.solver = z3.SolverFor('QF_BV')
        # Not by time, for what is proved does not depend on what else the machine does.
        self.solver.set('rlimit', 1000000)
        self.stack = []
        self.loops, self.objects, self.pures = {}, {}, {}
        self.paths = self.claims = 0
        self.reached = set()
        self.blind = 0

    def possible(self, known, extra):
        extra = z3.simplify(extra)
        if z3.is_false(extra):
            return False
        if self.blind:
            return True
        # What the last question shared with this one is known to the solver.
        same = 0
        while same < min(len(known), len(self.stack)) and known[same] is self.stack[same]:
            same += 1
        self.solver.pop(len(self.stack) - same)
        for condition in known[same:]:
            self.solver.push()
            self.solver.add(condition)
        self.stack = list(known)
        self.solver.push()
        self.solver.add(extra)
        result, solver = self.solver.check(), self.solver
        if result == z3.unknown:
            # What is hard is for a solver that rewrites all of it first.
            solver = z3.SolverFor('QF_BV')
            solver.add(*known, extra)
            result = solver.check()
        self.model = solver.model() if result == z3.sat else None
        self.solver.pop()
        if result == z3.unknown:
            raise Failure('Z3 gave up')
        return result == z3.sat

    def demand(self, state, condition, what):
        """It holds on this path, whatever the values."""
        condition = z3.simplify(condition)
        self.claims += not self.blind
        if z3.is_true(condition) or self.blind:
            return
        if self.possible(state.known, z3.Not(condition)):
            where = ' in '.join(f.function.name for f in reversed(state.frames))
            values = ', '.join(f'{d.name()} = {self.model[d].as_long():#x}'
                               for d in sorted(self.model.decls(), key=lambda d: int(d.name().rsplit('.', 1)[1]))
                               if not d.name().startswith('address'))
            raise Failure(f'{what}, in {where}, with {values}')
        state.known.append(condition)

    # Values.

    def constant(self, r, t):
        token = r.take()
        if token in ('true', 'false'):
            return number(token == 'true', 1)
        if re.fullmatch(r'-?\d+', token):
            return number(int(token), t.bits)
        if token == 'null':
            return NULL
        if token in ('undef', 'poison', 'zeroinitializer'):
            return self.nothing(t, token)
        if token.startswith('@'):
            return Pointer(self.global_(token), number(0, 64))
        if token in ('getelementptr', 'bitcast'):
            r.skip()
            r.take('(')
            if token == 'bitcast':
                value = self.value(None, r, r.type())
                r.take('to')
                r.type()
            else:
                value = self.element(None, r)
            r.take(')')
            return value
        raise Failure(f'a value {token} in {" ".join(r.tokens)}')

    def nothing(self, t, token):
        if t.kind == 'pointer':
            return NULL
        if t.kind == 'int':
            return number(0, t.bits) if token == 'zeroinitializer' else fresh('undefined', t.bits)
        n = t.count if t.kind == 'array' else len(t.parts)
        return tuple(self.nothing(t.parts[0 if t.kind == 'array' else i], token) for i in range(n))

    def value(self, state, r, t):
        r.skip()
        if r.peek().startswith('%'):
            return state.frames[-1].values[r.take()]
        return self.constant(r, t)

    def typed(self, state, r):
        t = r.type()
        return t, self.value(state, r, t)

    def global_(self, name):
        if name not in self.objects:
            text = self.module.globals.get(name)
            if text is None:
                raise Failure(f'{name} is used')
            if not re.search(r'\bconstant\b', text):
                raise Failure(f'{name} is no constant')
            r = Reader(self.module, re.sub(r'^.*?\bconstant\b', '', text, count=1))
            t = r.type()
            self.objects[name] = Object(name, size_of(t))
            self.objects[name].initial = (t, r)
        return self.objects[name]

    def initial(self, state, object_):
        """The cells of a global object when it is first used on a path."""
        if not hasattr(object_, 'initial') or object_ in state.cells:
            return
        t, r = object_.initial
        at = r.at
        self.fill(state, object_, 0, t, r)
        r.at = at

    def fill(self, state, object_, at, t, r):
        if r.peek().startswith('c"'):
            text = re.sub(r'\\(..)', lambda m: chr(int(m[1], 16)), r.take()[2:-1])
            for i, c in enumerate(text):
                state.store(object_, at + i, 1, number(ord(c), 8))
        elif r.peek() in '[{<' and r.peek():
            close = {'[': ']', '{': '}', '<': '}'}[r.take()]
            r.accept('{')
            i = 0
            while not r.accept(close):
                part = r.type()
                self.fill(state, object_, at + (i * size_of(part) if t.kind == 'array' else offset_of(t, i)), part, r)
                r.accept(',')
                i += 1
            r.accept('>')
        else:
            self.put(state, object_, at, t, self.constant(r, t))

    def put(self, state, object_, at, t, value):
        if isinstance(value, tuple):
            for i, part in enumerate(value):
                pt = t.parts[0 if t.kind == 'array' else i]
                self.put(state, object_, at + (i * size_of(pt) if t.kind == 'array' else offset_of(t, i)), pt, part)
            return
        if t.kind == 'int' and t.bits % 8:
            value = z3.ZeroExt(-t.bits % 8, value)
        state.store(object_, at, size_of(t), simple(value))

    def element(self, state, r):
        r.skip()
        t = r.type()
        r.take(',')
        _, base = self.typed(state, r)
        offset, first = base.offset, True
        while r.accept(','):
            it, index = self.typed(state, r)
            wide = z3.SignExt(64 - it.bits, index) if it.bits < 64 else index
            if first:
                offset = offset + wide * size_of(t)
            elif t.kind == 'array':
                t = t.parts[0]
                offset = offset + wide * size_of(t)
            else:
                i = z3.simplify(index).as_long()
                offset = offset + offset_of(t, i)
                t = t.parts[i]
            first = False
        return Pointer(base.object, simple(offset))

    # Memory.

    def access(self, state, pointer, size, align=1):
        """The object and, of a program's own, the offset in it."""
        o = pointer.object
        if o is None:
            raise Failure(f'a null pointer is followed, in {state.frames[-1].function.name}')
        self.initial(state, o)
        total = o.size if z3.is_expr(o.size) else number(o.size, 64)
        self.demand(state, z3.And(z3.ULE(number(size, 64), total), z3.ULE(pointer.offset, total - size)),
                    f'{size} bytes outside of {o.name}')
        if align > 1 and o.guest:
            self.demand(state, z3.URem(o.base + pointer.offset, number(align, 64)) == 0, 'an atomic is not aligned')
        if o.guest:
            return o, None
        if not z3.is_bv_value(pointer.offset):
            raise Failure(f'an element of {o.name} that depends on values')
        return o, pointer.offset.as_long()

    def get(self, state, o, at, t):
        if t.kind in ('struct', 'array'):
            n = t.count if t.kind == 'array' else len(t.parts)
            parts = [t.parts[0 if t.kind == 'array' else i] for i in range(n)]
            return tuple(self.get(state, o, None if at is None else at + (i * size_of(p) if t.kind == 'array'
                                                                         else offset_of(t, i)), p)
                         for i, p in enumerate(parts))
        if o.guest:
            if t.kind == 'pointer':
                raise Failure('a pointer from a guest')
            return fresh('read', t.bits)
        value = state.load(o, at, size_of(t))
        if t.kind == 'pointer':
            if not isinstance(value, Pointer):
                if z3.is_bv_value(value) and not value.as_long():
                    return NULL
                raise Failure(f'{o.name}+{at} is no pointer')
            return value
        return simple(z3.Extract(t.bits - 1, 0, value)) if t.bits % 8 else value

    def copy_bytes(self, state, to, source, size):
        so, sat = self.access(state, source, size)
        do, dat = self.access(state, to, size)
        if do.guest:
            return
        if so.guest:
            state.store(do, dat, size, fresh('copied', 8 * size))
            return
        pos = 0
        while pos < size:
            cell = state.of(so).get(sat + pos)
            n = cell[0] if cell and cell[0] <= size - pos else 1
            state.store(do, dat + pos, n, state.load(so, sat + pos, n))
            pos += n

    # Calls.

    def call(self, state, line, r):
        """Returns whether a frame was entered."""
        target = None
        m = re.match(r'(%[\w.$"-]+) = ', line)
        if m:
            target = m[1]
        if ' asm ' in line:
            return False
        r.skip()
        t = r.type()
        if r.peek() == '(':
            r.parenthesis()
        name = r.take()[1:]
        r.take('(')
        arguments = []
        while not r.accept(')'):
            if r.peek() == 'metadata':
                return False
            arguments.append(self.typed(state, r)[1])
            r.accept(',')
        function = self.module.functions.get(name)
        if function:
            if len(state.frames) > 40:
                raise Failure('calls are too deep')
            frame = Frame(function, {p: v for (p, _), v in zip(function.parameters, arguments)})
            if t.kind == 'int' and self.is_pure(function):
                state.frames[-1].values[target] = self.merged(state, frame)
                return False
            frame.result = target
            state.frames.append(frame)
            return True
        result = self.outside(state, name, arguments, t)
        if target:
            state.frames[-1].values[target] = result
        return False

    def is_pure(self, function):
        """Whether all it does is to say something: no store but to variables of its own."""
        if function.name not in self.pures:
            self.pures[function.name] = False
            code = [line for block in function.blocks.values() for line in block.code]
            own = {line.split(' = ')[0] for line in code if ' = alloca ' in line}
            self.pures[function.name] = not self.loops_of(function) and all(
                self.pure_line(line, own) for line in code)
        return self.pures[function.name]

    def pure_line(self, line, own):
        if line.startswith('store '):
            to = re.search(r'\* (%[\w.]+), align', line)
            return bool(to) and to[1] in own
        called = re.search(r'\bcall .*?@([\w.]+)\(', line)
        if not called:
            return ' call ' not in ' ' + line
        name = called[1]
        if name in self.module.functions:
            return self.is_pure(self.module.functions[name])
        return name in ('bytes_at', 'llvm.ubsantrap') or '.with.overflow.' in name

    def ways(self, state, frame):
        """What a function says: (on what condition, what), for each path of it."""
        trial = state.copy()
        start, depth, made = len(trial.known), len(trial.frames) + 1, []
        trial.frames.append(frame)
        todo = [trial]
        while todo:
            s = todo.pop()
            if len(s.frames) < depth:
                made.append((z3.And(*s.known[start:]), s.returned))
            else:
                todo.extend(self.step(s))
        return made

    def merged(self, state, frame):
        """The same as one value, so that the paths go on as one."""
        made = self.ways(state, frame)
        if not made:
            state.dead = True
            return None
        value = made[-1][1]
        for condition, other in made[:-1]:
            value = z3.If(condition, other, value)
        return simple(value)

    def outside(self, state, name, a, t):
        if name.startswith('any_u') or name == 'any_bool':
            return fresh(name, t.bits)
        if name == 'any_memory':
            o = Object('memory', simple(a[0]), guest=True)
            # It ends before the address space does.
            state.known.append(z3.ULT(a[0], number(1 << 40, 64)))
            state.known.append(z3.ULT(o.base, number(1 << 62, 64)))
            return Pointer(o, number(0, 64))
        if name == 'bytes_at':
            size = a[0].object.size
            size = size if z3.is_expr(size) else number(size, 64)
            return simple(z3.If(z3.ULE(a[0].offset, size), size - a[0].offset, number(0, 64)))
        if name == 'assume':
            if not self.possible(state.known, a[0] == 1):
                state.dead = True
            state.known.append(z3.simplify(a[0] == 1))
            return None
        if name == 'claim':
            f = state.frames[-1]
            self.reached.add((f.function.name, f.block, f.at))
            self.demand(state, a[0] == 1, 'a claim does not hold')
            return None
        if name.startswith('llvm.memcpy') or name.startswith('llvm.memmove'):
            self.copy_bytes(state, a[0], a[1], z3.simplify(a[2]).as_long())
            return None
        if name.startswith('llvm.memset'):
            n = z3.simplify(a[2]).as_long()
            o, at = self.access(state, a[0], n)
            byte = z3.simplify(a[1])
            if not o.guest:
                for i in range(n):
                    state.store(o, at + i, 1, byte)
            return None
        m = re.fullmatch(r'llvm\.([su])(add|sub|mul)\.with\.overflow\.i(\d+)', name)
        if m:
            bits = int(m[3])
            extend = z3.SignExt if m[1] == 's' else z3.ZeroExt
            wrapped = simple(OVERFLOW[m[2]](a[0], a[1]))
            exact = OVERFLOW[m[2]](extend(bits, a[0]), extend(bits, a[1]))
            return (wrapped, simple(as_bit(exact != extend(bits, wrapped))))
        if name.startswith(('llvm.lifetime', 'llvm.assume', 'llvm.dbg')):
            return None
        if name.startswith('llvm.expect'):
            return a[0]
        if name in ('llvm.ubsantrap', 'llvm.trap', 'bug_report'):
            self.demand(state, z3.BoolVal(False), 'bug_on()' if name == 'bug_report' else 'undefined behaviour')
            state.dead = True
            return None
        raise Failure(f'{name}() is called')

    # Control.

    def step(self, state):
        """One instruction. The states that follow; none behind the end of the path."""
        frame = state.frames[-1]
        line = frame.function.blocks[frame.block].code[frame.at]
        m = re.match(r'(%(?:"[^"]*"|[\w.$-]+)) = (.*)', line)
        target, text = (m[1], m[2]) if m else (None, line)
        r = Reader(self.module, text)
        op = r.take()
        while op in ('tail', 'notail', 'musttail'):
            op = r.take()
        frame.at += 1
        if op == 'call':
            frame.at -= 1
            self.call(state, line, r)
            frame.at += 1
            return [] if state.dead else [state]
        method = getattr(self, 'op_' + op, None)
        if method:
            return method(state, r, target)
        frame.values[target] = self.pure(state, op, r)
        return [state]

    def pure(self, state, op, r):
        if op in COMPUTE:
            r.skip()
            t, a = self.typed(state, r)
            r.take(',')
            b = self.value(state, r, t)
            return simple(COMPUTE[op](a, b))
        if op in ('zext', 'sext', 'trunc', 'bitcast', 'ptrtoint', 'freeze'):
            t, a = self.typed(state, r)
            if op in ('bitcast', 'freeze'):
                return a
            r.take('to')
            to = r.type()
            if op == 'ptrtoint':
                a = number(0, 64) if a.object is None else a.object.base + a.offset
            elif op != 'trunc':
                return simple((z3.ZeroExt if op == 'zext' else z3.SignExt)(to.bits - t.bits, a))
            return simple(z3.Extract(to.bits - 1, 0, a))
        if op == 'getelementptr':
            return self.element(state, r)
        if op == 'extractvalue':
            _, a = self.typed(state, r)
            while r.accept(','):
                a = a[int(r.take())]
            return a
        if op == 'insertvalue':
            _, a = self.typed(state, r)
            r.take(',')
            _, b = self.typed(state, r)
            r.take(',')
            i = int(r.take())
            return a[:i] + (b,) + a[i + 1:]
        raise Failure(f'an instruction {op}')

    def op_icmp(self, state, r, target):
        how = r.take()
        t, a = self.typed(state, r)
        r.take(',')
        b = self.value(state, r, t)
        if isinstance(a, Pointer):
            if a.object is not b.object:
                if how not in ('eq', 'ne'):
                    raise Failure('pointers to different objects are ordered')
                condition = z3.BoolVal(how == 'ne')
            else:
                condition = COMPARE[how](a.offset, b.offset)
        else:
            condition = COMPARE[how](a, b)
        state.frames[-1].values[target] = simple(as_bit(condition))
        return [state]

    def op_alloca(self, state, r, target):
        state.frames[-1].values[target] = Pointer(Object(target[1:], size_of(r.type())), number(0, 64))
        return [state]

    def op_load(self, state, r, target):
        atomic = r.accept('atomic')
        r.skip()
        t = r.type()
        r.take(',')
        _, pointer = self.typed(state, r)
        o, at = self.access(state, pointer, size_of(t), size_of(t) if atomic else 1)
        state.frames[-1].values[target] = self.get(state, o, at, t)
        return [state]

    def op_store(self, state, r, _):
        atomic = r.accept('atomic')
        r.skip()
        t, value = self.typed(state, r)
        r.take(',')
        _, pointer = self.typed(state, r)
        o, at = self.access(state, pointer, size_of(t), size_of(t) if atomic else 1)
        if not o.guest:
            self.put(state, o, at, t, value)
        return [state]

    def op_fence(self, state, _r, _target):
        return [state]

    def fork(self, state, condition):
        """(state, whether) for each outcome that can be."""
        condition = z3.simplify(condition)
        if z3.is_true(condition) or z3.is_false(condition):
            return [(state, z3.is_true(condition))]
        yes, no = self.possible(state.known, condition), self.possible(state.known, z3.Not(condition))
        if yes and no:
            other = state.copy()
            state.known.append(condition)
            other.known.append(z3.Not(condition))
            return [(state, True), (other, False)]
        if not yes and not no:
            return []
        return [(state, yes)]

    def op_select(self, state, r, target):
        _, c = self.typed(state, r)
        r.take(',')
        _, a = self.typed(state, r)
        r.take(',')
        _, b = self.typed(state, r)
        if not isinstance(a, Pointer):
            state.frames[-1].values[target] = simple(z3.If(c == 1, a, b))
            return [state]
        made = self.fork(state, c == 1)
        for s, yes in made:
            s.frames[-1].values[target] = a if yes else b
        return [s for s, _ in made]

    def op_br(self, state, r, _):
        if r.peek() == 'label':
            r.take()
            return self.go(state, r.take()[1:])
        _, c = self.typed(state, r)
        r.take(',')
        r.take('label')
        yes = r.take()[1:]
        r.take(',')
        r.take('label')
        no = r.take()[1:]
        return [x for s, taken in self.fork(state, c == 1) for x in self.go(s, yes if taken else no)]

    def op_switch(self, state, r, _):
        t, v = self.typed(state, r)
        r.take(',')
        r.take('label')
        default = r.take()[1:]
        r.take('[')
        made, rest = [], state
        while not r.accept(']'):
            r.type()
            case = int(r.take())
            r.take(',')
            r.take('label')
            to = r.take()[1:]
            if rest is None:
                continue
            outcomes = self.fork(rest, v == number(case, t.bits))
            rest = None
            for s, taken in outcomes:
                if taken:
                    made.append((s, to))
                else:
                    rest = s
        if rest is not None:
            made.append((rest, default))
        return [x for s, to in made for x in self.go(s, to)]

    def op_phi(self, state, r, target):
        # Those of one block read what was there before any of them; clang -O0 makes one at most.
        t = r.type()
        while r.accept('['):
            value = None
            at = r.at
            token = r.take()
            r.take(',')
            if r.take()[1:] == state.frames[-1].before:
                r.at = at
                value = self.value(state, r, t)
                state.frames[-1].values[target] = value
                return [state]
            assert token
            r.take(']')
            r.accept(',')
        raise Failure('a block that nothing leads to')

    def op_unreachable(self, state, _r, _target):
        if self.blind:
            return []
        self.demand(state, z3.BoolVal(False), 'what cannot be reached')
        return []

    def op_ret(self, state, r, _):
        frame = state.frames[-1]
        t = r.type()
        value = None if t is VOID else self.value(state, r, t)
        state.frames.pop()
        state.returned = value
        if state.frames and frame.result:
            state.frames[-1].values[frame.result] = value
        return [state]

    # Loops.

    def loops_of(self, function):
        if function.name not in self.loops:
            self.loops[function.name] = function.headers()
        return self.loops[function.name]

    def go(self, state, to):
        frame = state.frames[-1]
        frame.before, frame.block, frame.at = frame.block, to, 0
        if to not in self.loops_of(frame.function):
            return [state]
        invariant = self.module.functions.get('invariant_' + frame.function.name)
        if not invariant:
            frame.rounds[to] = frame.rounds.get(to, 0) + 1
            if frame.rounds[to] > ROUNDS + 1:
                raise Failure(f'{frame.function.name}() goes round more than {ROUNDS} times')
            return [state]
        if frame.cut and frame.cut['header'] == to:
            frame.cut['back'].append(state)
            return []
        return self.cut(state, invariant, to)

    def holds(self, state, invariant):
        """What the invariant says of this state, as a formula."""
        frame = state.frames[-1]
        arguments = {}
        for p, t in invariant.parameters:
            place = frame.values.get(p) if p + '.addr' not in frame.values else frame.values[p + '.addr']
            if place is None:
                raise Failure(f'{frame.function.name}() has no variable {p[1:]}')
            value = self.get(state, place.object, place.offset.as_long(), Type('int', 8) if t.bits == 1 else t)
            arguments[p] = simple(z3.Extract(0, 0, value)) if t.bits == 1 else value
        return z3.simplify(self.merged(state, Frame(invariant, arguments)) == 1)

    def cut(self, state, invariant, header, written=None):
        """The states that leave the loop, from any round of it."""
        name = state.frames[-1].function.name
        depth, body = len(state.frames), self.loops_of(state.frames[-1].function)[header]
        self.demand(state, self.holds(state, invariant), f'the invariant of {name}() does not hold at first')
        written = written if written is not None else {}
        # What is written comes out sooner if every path counts, whether it can be or not.
        settled = False
        while True:
            self.blind += not settled
            s = state.copy()
            # What is written in a round is not known.
            for (o, at), size in written.items():
                s.store(o, at, size, fresh(f'{o.name}', 8 * size))
            s.known.append(self.holds(s, invariant))
            s.frames[-1].cut = {'header': header, 'back': []}
            start = s.copy()
            back, left, others = s.frames[-1].cut['back'], [], []
            todo = [s]
            while todo:
                s = todo.pop()
                if len(s.frames) < depth or (len(s.frames) == depth and s.frames[-1].block not in body):
                    left.append(s)
                else:
                    todo.extend(self.step(s))
            more = False
            for s in back:
                moved = False
                for o, cells in s.cells.items():
                    before = start.cells.get(o)
                    # Objects made in this round are gone in the next.
                    if before is None:
                        continue
                    for at, (size, value) in cells.items():
                        old = before.get(at)
                        if old and old[0] == size and (z3.eq(old[1], value) if z3.is_expr(value) and z3.is_expr(old[1])
                                                       else isinstance(value, Pointer) and value.same(old[1])):
                            continue
                        if isinstance(value, Pointer):
                            moved = True
                        elif written.get((o, at)) != size:
                            written[(o, at)] = size
                            more = True
                if moved:
                    others.append(s)
            self.blind -= not settled
            if not more and settled:
                break
            settled = not more
        made = left
        for s in back:
            if s in others:
                s.frames[-1].cut = None
                made += self.cut(s, invariant, header, dict(written))
            else:
                self.demand(s, self.holds(s, invariant), f'the invariant of {name}() does not hold after a round')
        for s in made:
            if len(s.frames) >= depth:
                s.frames[depth - 1].cut = None
        return made

    def prove(self, function):
        self.paths = self.claims = 0
        self.reached = set()
        state = State()
        state.frames.append(Frame(function, {}))
        todo = [state]
        while todo:
            s = todo.pop()
            if s.frames:
                todo.extend(self.step(s))
            elif self.possible(s.known, z3.BoolVal(True)):
                self.paths += 1
        for block in function.blocks.values():
            for i, line in enumerate(block.code):
                if '@claim(' in line and (function.name, block.name, i) not in self.reached:
                    raise Failure('a claim is never reached: what is assumed cannot be')
        if not self.paths:
            raise Failure('no path comes to the end: what is assumed cannot be')


def main():
    everything = sys.argv[1] == '--all'
    module = Module(sys.argv[1 + everything])
    wanted, bad = sys.argv[2 + everything:], 0
    kinds = ('proof_', 'false_', 'long_') if everything else ('proof_', 'false_')
    for name, function in module.functions.items():
        if not name.startswith(kinds) or (wanted and name not in wanted):
            continue
        prover, why = Prover(module), None
        try:
            prover.prove(function)
        except Failure as failure:
            why = str(failure)
        kind, title = name.replace('_', ' ').split(' ', 1)
        if kind == 'false':
            title = f'what is false is found out: {title}'
            why = None if why else 'it was proved'
        if why:
            bad = 1
            print(f'not ok {title}\n    {why}', flush=True)
        else:
            print(f'ok {title} ({prover.paths} paths, {prover.claims} claims)', flush=True)
    return bad


if __name__ == '__main__':
    sys.exit(main())
