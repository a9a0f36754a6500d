#!/usr/bin/env python3
"""Whether made/skep.cdx.json of a release build says what the program beside it is made of.

usage: tests/system/sbom.py BUILD

Prints a line a test. What there is to say is taken from the program: what it is linked with, the
libraries whose names are in it, and the bytes between the symbols that EMBED() makes.
"""
import hashlib
import json
import re
import subprocess
import sys

BUILD = sys.argv[1]
PROGRAM = f'{BUILD}/skep'
BIOS_SIZE = 8192
failed = False


def test(name, expected, actual):
    global failed
    if expected == actual:
        print(f'ok {name}')
        return
    failed = True
    print(f'not ok {name}\n    expected {expected}\n    got      {actual}')


def readelf(*arguments):
    return subprocess.run(['readelf', '-W', *arguments, PROGRAM], check=True, capture_output=True, text=True).stdout


def embedded(data):
    """{name: hash} of what is between NAME_start and NAME_end in the read-only data."""
    where = re.search(r'\.rodata +PROGBITS +([0-9a-f]+) +([0-9a-f]+)', readelf('-S'))
    offset = int(where[2], 16) - int(where[1], 16)
    symbols = {name: int(at, 16) for at, kind, name in re.findall(
        r'^ *\d+: ([0-9a-f]+) +\d+ (\w+) .* (\S+)$', readelf('-s'), re.M) if kind == 'NOTYPE'}
    found = {}
    for start, at in symbols.items():
        name = start.removesuffix('_start')
        if name == start or name + '_end' not in symbols:
            continue
        part = data[at + offset:symbols[name + '_end'] + offset]
        # In the middle of the BIOS is room that skep does not carry.
        if name + '_reset' in symbols:
            n = symbols[name + '_reset'] - at
            part = part[:n].ljust(BIOS_SIZE - len(part) + n, b'\0') + part[n:]
        found[name] = hashlib.sha256(part).hexdigest()
    return found


def main():
    with open(PROGRAM, 'rb') as f:
        data = f.read()
    with open(f'{BUILD}/made/skep.cdx.json', encoding='utf-8') as f:
        text = f.read()
    bom = json.loads(text)
    parts = bom['components']
    soname = {p['name']: p['properties'][0]['value'] for p in parts if 'properties' in p}

    def scope(which):
        return sorted(soname[p['name']] for p in parts if p['scope'] == which and p['name'] in soname)

    test('it is CycloneDX', ('CycloneDX', '1.5', 1), (bom['bomFormat'], bom['specVersion'], bom['version']))
    test('it is of this version', subprocess.run([PROGRAM, '--version'], check=True, capture_output=True, text=True)
         .stdout.split()[1], bom['metadata']['component']['version'])
    test('each part has a version, a licence and a name of its own', [],
         [p['name'] for p in parts if not re.match(r'\d', p['version']) or len(p['licenses']) != 1
          or p['type'] not in ('library', 'file') or sum(q['bom-ref'] == p['bom-ref'] for q in parts) != 1])
    test('it has what is linked', sorted(re.findall(r'NEEDED.*\[(.*)\]', readelf('-d'))), scope('required'))
    test('it has what is opened', sorted({m.decode() for m in re.findall(rb'lib[\w-]+\.so\.[\d.]+', data)
                                          if m.decode() not in scope('required')}), scope('optional'))
    test('it has what is embedded, byte for byte', embedded(data),
         {p['name']: p['hashes'][0]['content'] for p in parts if 'hashes' in p})
    test('skep depends on all but what builds it', [p['bom-ref'] for p in parts if p['scope'] != 'excluded'],
         bom['dependencies'][0]['dependsOn'])
    test('nothing in it depends on the time', [], re.findall('timestamp|serialNumber|20[0-9][0-9]-', text))
    return failed


if __name__ == '__main__':
    sys.exit(main())
