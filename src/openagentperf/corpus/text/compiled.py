"""Grammars of Go, Rust, C, C++, Java, Kotlin, C# and Swift."""
# ruff: noqa: E501, ISC004 - templates are data: a literal broken at 140 characters would hide the lines that it makes

from __future__ import annotations

from openagentperf.corpus.text.grammar import Language

GO = Language(
    name="go", extension="go", case="camel", folders=("internal/store", "internal/server", "cmd/app", "pkg/api"), runner="go test ./...",
    heads=('package @p@\n\nimport (\n\t"context"\n\t"errors"\n\t"fmt"\n\t"sync"\n\n\t"example.org/app/internal/@p@"\n)\n\nvar err@t@ = errors.New("@s@")\n',),
    blocks=(
        "// @f@ reads a @p@. @w@.\nfunc @f@(ctx context.Context, @a@ *@t@, @b@ int) (*@u@, error) {\n\t@body@\n\treturn @c@, nil\n}\n\n",
        "type @t@ struct {\n\tmu sync.Mutex\n\t@a@ map[string]*@u@\n\t@b@ int64 `json:\"@p@,omitempty\"`\n}\n\nfunc (s *@t@) @f@(@c@ string) error {\n\ts.mu.Lock()\n\tdefer s.mu.Unlock()\n\t@body@\n\treturn nil\n}\n\n",
        "func Test@t@(t *testing.T) {\n\ttests := []struct {\n\t\tname string\n\t\t@a@ int\n\t\twant string\n\t}{\n\t\t{\"@s@\", @n@, \"@p@\"},\n\t\t{\"@s@\", @n@, \"\"},\n\t}\n"
        "\tfor _, tt := range tests {\n\t\tt.Run(tt.name, func(t *testing.T) {\n\t\t\t@body@\n\t\t})\n\t}\n}\n\n",
    ),
    statements=(
        "@c@, err := @f@(ctx, @a@)\nif err != nil {\n\treturn nil, fmt.Errorf(\"@s@: %w\", err)\n}", "for _, @d@ := range @b@ {\n\t@c@ = append(@c@, @d@.@t@)\n}",
        "// @w@", "if len(@a@) > @n@ {\n\treturn err@t@\n}", "select {\ncase <-ctx.Done():\n\treturn ctx.Err()\ncase @d@ := <-@a@:\n\t@g@(@d@)\n}",
        "@d@ := make(map[string]int, @n@)", "go func() {\n\tdefer wg.Done()\n\t@f@(@a@)\n}()", "log.Printf(\"@s@: %v\", @b@)", "@a@.@b@ += @n@",
    ),
)  # fmt: skip

RUST = Language(
    name="rust", extension="rs", case="snake", folders=("src", "src/engine", "crates/core/src", "tests"), runner="cargo test --quiet",
    heads=("//! @w@.\n\nuse std::collections::HashMap;\nuse std::sync::Arc;\n\nuse crate::@p@::{@t@, @u@};\n\nconst @k@: usize = @n@;\n",),
    blocks=(
        "/// @w@.\npub fn @f@(@a@: &@t@, @b@: usize) -> Result<@u@, Error> {\n    @body@\n    Ok(@c@)\n}\n\n",
        "#[derive(Debug, Clone, PartialEq)]\npub struct @t@ {\n    pub @a@: Vec<@u@>,\n    @b@: Option<Arc<str>>,\n}\n\nimpl @t@ {\n    pub fn @f@(&mut self, @c@: u64) -> Option<&@u@> {\n        @body@\n        self.@a@.get(@c@ as usize)\n    }\n}\n\n",
        "#[test]\nfn @f@_works() {\n    let mut @a@ = @t@::new(@n@);\n    @body@\n    assert_eq!(@a@.@b@, @n@, \"@s@\");\n}\n\n",
        "pub enum @t@ {\n    @u@(u32),\n    Unknown { @a@: String },\n}\n\nimpl fmt::Display for @t@ {\n    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {\n"
        "        match self {\n            Self::@u@(n) => write!(f, \"@p@ {n}\"),\n            Self::Unknown { @a@ } => write!(f, \"@s@: {@a@}\"),\n        }\n    }\n}\n\n",
    ),
    statements=(
        "let @c@ = @f@(&@a@, @n@)?;", "if @a@.is_empty() {\n    return Err(Error::@t@(\"@s@\".into()));\n}", "for @d@ in @b@.iter() {\n    @c@.push(@d@.clone());\n}", "// @w@",
        "let @d@: HashMap<_, _> = @a@.iter().map(|x| (x.id, x)).collect();", "match @a@.@f@() {\n    Some(@d@) if @d@ > @n@ => @g@(@d@),\n    _ => continue,\n}",
        "tracing::debug!(?@a@, \"@s@\");", "let @b@ = @a@.lock().unwrap_or_else(|e| e.into_inner());", "debug_assert!(@a@.len() <= @n@);",
    ),
)  # fmt: skip

C = Language(
    name="c", extension="c", case="snake", folders=("src", "lib", "include", "tests"), runner="make check",
    heads=("/* @w@ */\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\n#include \"@p@.h\"\n\n#define @k@ @n@\n",),
    blocks=(
        "static int @f@(struct @a@ *@b@, size_t @c@)\n{\n\tint ret = 0;\n\n\t@body@\n\treturn ret;\n}\n\n",
        "struct @a@ {\n\tunsigned int @b@;\n\tchar *@c@;\n\tstruct @d@ *next; /* @w@ */\n};\n\n",
        "void @f@(const char *@a@, void (*@b@)(int))\n{\n\t@body@\n}\n\n",
        "enum @a@_kind {\n\t@k@_NONE = @n@,\n\t@k@_READY,\n};\n\nint @g@(enum @a@_kind kind, uint64_t *@b@)\n{\n\tswitch (kind) {\n\tcase @k@_READY:\n\t\t@body@\n\t\tbreak;\n\tdefault:\n\t\treturn -EINVAL;\n\t}\n\treturn 0;\n}\n\n",
    ),
    statements=(
        "ret = @f@(@a@, @n@);\nif (ret < 0)\n\tgoto out;", "if (!@a@) {\n\tfprintf(stderr, \"@s@\\n\");\n\treturn -1;\n}", "for (i = 0; i < @b@->@c@; i++)\n\t@g@(&@a@[i]);", "/* @w@ */",
        "@d@ = calloc(@n@, sizeof(*@d@));", "memcpy(@a@->@b@, @c@, @n@);", "@a@->@d@ |= 1u << @n@;", "while (@a@ && @a@->@b@ != @n@)\n\t@a@ = @a@->next;",
    ),
)  # fmt: skip

CPP = Language(
    name="cpp", extension="cpp", case="camel", folders=("src", "src/core", "include/app", "tests"), runner="ctest --output-on-failure",
    heads=("// @w@\n#include \"@p@.hpp\"\n\n#include <memory>\n#include <string>\n#include <vector>\n\nnamespace app::@p@ {\n",),
    blocks=(
        "std::optional<@u@> @f@(const @t@& @a@, std::size_t @b@) {\n  @body@\n  return @c@;\n}\n\n",
        "class @t@ final : public @u@ {\n public:\n  explicit @t@(std::string @a@) : @a@_(std::move(@a@)) {}\n  ~@t@() override = default;\n\n  bool @f@(int @b@) const {\n    @body@\n    return @b@ < @n@;\n  }\n\n private:\n  std::string @a@_;\n};\n\n",
        "TEST(@t@Test, @u@) {\n  @t@ @a@{@n@};\n  @body@\n  EXPECT_EQ(@a@.@f@(), @n@) << \"@s@\";\n}\n\n",
        "template <typename T>\nauto @f@(T&& @a@) -> decltype(@a@.@g@()) {\n  @body@\n  return std::forward<T>(@a@).@g@();\n}\n\n",
    ),
    statements=(
        "const auto @c@ = @f@(@a@, @n@);", "if (@a@.empty()) {\n  throw std::runtime_error(\"@s@\");\n}", "for (const auto& @d@ : @b@) {\n  @c@.push_back(@d@.@p@);\n}", "// @w@",
        "std::unique_ptr<@t@> @d@ = std::make_unique<@t@>(@n@);", "std::lock_guard<std::mutex> lock(mutex_);", "@a@.erase(std::remove_if(@a@.begin(), @a@.end(), @f@), @a@.end());",
        "auto @b@ = [&](int x) { return x + @n@; };", "LOG(WARNING) << \"@s@\" << @a@;",
    ),
)  # fmt: skip

JAVA = Language(
    name="java", extension="java", case="camel", folders=("src/main/java/org/app", "src/main/java/org/app/store", "src/test/java/org/app"), runner="mvn -q test",
    heads=("package org.app.@p@;\n\nimport java.util.List;\nimport java.util.Map;\nimport java.util.Optional;\n\nimport org.app.store.@t@;\n",),
    blocks=(
        "    /** @w@. */\n    public Optional<@u@> @f@(@t@ @a@, int @b@) {\n        @body@\n        return Optional.of(@c@);\n    }\n\n",
        "public final class @t@ implements @u@ {\n    private static final int @k@ = @n@;\n    private final Map<String, @u@> @a@;\n\n    @Override\n    public void @f@(String @b@) throws IOException {\n        @body@\n    }\n}\n\n",
        "    @Test\n    void @f@() {\n        @t@ @a@ = new @t@(@n@, \"@p@\");\n        @body@\n        assertEquals(@n@, @a@.@g@(), \"@s@\");\n    }\n\n",
        "public record @t@(String @a@, long @b@, List<@u@> @c@) {\n    public @t@ {\n        if (@b@ < @n@) {\n            throw new IllegalArgumentException(\"@s@\");\n        }\n    }\n}\n\n",
    ),
    statements=(
        "@t@ @c@ = this.@f@(@a@, @n@);", "if (@a@ == null) {\n    throw new IllegalStateException(\"@s@\");\n}", "for (@t@ @d@ : @b@) {\n    @c@.add(@d@.@f@());\n}", "// @w@",
        "List<@t@> @d@ = @a@.stream().filter(x -> x.@f@() > @n@).toList();", "try (var @d@ = @f@(@a@)) {\n    @g@(@d@);\n} catch (IOException e) {\n    LOG.warn(\"@s@\", e);\n}",
        "synchronized (lock) {\n    @a@.put(@b@, @n@L);\n}", "return @a@.@f@().orElseGet(() -> @g@(@b@));",
    ),
)  # fmt: skip

KOTLIN = Language(
    name="kotlin", extension="kt", case="camel", folders=("src/main/kotlin/app", "src/main/kotlin/app/data", "src/test/kotlin/app"), runner="./gradlew test",
    heads=("package app.@p@\n\nimport kotlinx.coroutines.flow.Flow\nimport app.data.@t@\n\nprivate const val @k@ = @n@\n",),
    blocks=(
        "suspend fun @f@(@a@: @t@, @b@: Int = @n@): @u@? {\n    @body@\n    return @c@\n}\n\n",
        "data class @t@(\n    val @a@: String,\n    val @b@: Long = @n@L,\n    val @c@: List<@u@> = emptyList(),\n)\n\n",
        "class @t@(private val @a@: @u@) : @u@ by @a@ {\n    override fun @f@(@b@: Int): Boolean {\n        @body@\n        return @b@ in 0..@n@\n    }\n}\n\n",
        "    @Test\n    fun `@s@`() = runTest {\n        val @a@ = @t@(@n@)\n        @body@\n        assertEquals(@n@, @a@.@f@())\n    }\n\n",
    ),
    statements=(
        "val @c@ = @f@(@a@, @n@)", "requireNotNull(@a@) { \"@s@\" }", "@b@.forEach { @d@ ->\n    @c@ += @d@.@p@\n}", "// @w@", "val @d@ = @a@?.let(::@f@) ?: return null",
        "when (@a@) {\n    is @t@ -> @g@(@b@)\n    else -> error(\"@s@\")\n}", "withContext(Dispatchers.IO) { @f@(@a@) }", "@a@.filter { it.@p@ > @n@ }.map(@t@::@g@)",
    ),
)  # fmt: skip

CSHARP = Language(
    name="csharp", extension="cs", case="pascal", folders=("src/App", "src/App/Services", "src/App/Models", "test/App.Tests"), runner="dotnet test --nologo",
    heads=("using System;\nusing System.Collections.Generic;\nusing System.Linq;\nusing App.Models;\n\nnamespace App.Services;\n",),
    blocks=(
        "    /// <summary>@w@.</summary>\n    public async Task<@u@?> @f@Async(@t@ @a@, CancellationToken token = default)\n    {\n        @body@\n        return @c@;\n    }\n\n",
        "public sealed class @t@ : I@u@\n{\n    private readonly Dictionary<string, @u@> _@a@ = new();\n\n    public int @g@ { get; init; } = @n@;\n\n    public bool @f@(string @b@)\n    {\n        @body@\n        return _@a@.ContainsKey(@b@);\n    }\n}\n\n",
        "    [Fact]\n    public void @f@_@t@()\n    {\n        var @a@ = new @t@(@n@);\n        @body@\n        Assert.Equal(@n@, @a@.@g@());\n    }\n\n",
        "public record @t@(string @a@, int @b@, IReadOnlyList<@u@> @c@);\n\n",
    ),
    statements=(
        "var @c@ = await @f@Async(@a@, token);", "if (@a@ is null)\n{\n    throw new InvalidOperationException(\"@s@\");\n}", "foreach (var @d@ in @b@)\n{\n    @c@.Add(@d@.@f@());\n}", "// @w@",
        "var @d@ = @a@.Where(x => x.@g@ > @n@).Select(x => x.@f@()).ToList();", "_logger.LogWarning(\"@s@: {Value}\", @a@);", "using var @d@ = new @t@(@a@, @n@);", "return @a@ ?? @f@(@b@);",
    ),
)  # fmt: skip

SWIFT = Language(
    name="swift", extension="swift", case="camel", folders=("Sources/App", "Sources/App/Model", "Tests/AppTests"), runner="swift test",
    heads=("import Foundation\n\n// @w@\nlet @a@Limit = @n@\n",),
    blocks=(
        "func @f@(_ @a@: @t@, @b@: Int = @n@) async throws -> @u@? {\n    @body@\n    return @c@\n}\n\n",
        "struct @t@: Codable, Equatable {\n    let @a@: String\n    var @b@: [@u@] = []\n\n    mutating func @f@(_ @c@: Int) -> Bool {\n        @body@\n        return @c@ < @n@\n    }\n}\n\n",
        "final class @t@Tests: XCTestCase {\n    func test@u@() throws {\n        let @a@ = @t@(@b@: @n@)\n        @body@\n        XCTAssertEqual(@a@.@f@(), @n@, \"@s@\")\n    }\n}\n\n",
        "enum @t@: Error {\n    case @a@(String)\n    case @b@\n}\n\nextension @u@ {\n    var @c@: Int { @d@.count + @n@ }\n}\n\n",
    ),
    statements=(
        "let @c@ = try await @f@(@a@)", "guard let @d@ = @a@.@p@ else {\n    throw @t@.@b@\n}", "for @d@ in @b@ where @d@ > @n@ {\n    @c@.append(@d@)\n}", "// @w@",
        "logger.debug(\"@s@: \\(@a@)\")", "@b@ = @a@.map { $0.@p@ }.filter { $0 != @n@ }", "defer { @f@(@a@) }", "switch @a@ {\ncase .@p@: @g@(@b@)\ndefault: break\n}",
    ),
)  # fmt: skip

COMPILED = (GO, RUST, C, CPP, JAVA, KOTLIN, CSHARP, SWIFT)
